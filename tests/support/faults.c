/* A disk that stalls or fails, and a clock that was set, as a test says while a server runs.
 *
 * Preloaded into a server. FAULTS_FOLDER names a folder; a file in it is a fault:
 *
 *   stall       fsync and fdatasync wait until the file is gone
 *   slow        they take as many milliseconds longer as the file says
 *   fail        they fail with EIO
 *   clock       the wall clock is as many seconds off as the file says
 *
 * The monotonic clock is never touched: nothing that sets a machine's clock does that.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* The number in a fault's file, 0 when it holds none; -1 when there is no such file. */
static long fault(const char *name, int *is_there)
{
    char path[4096], text[32];
    const char *folder = getenv("FAULTS_FOLDER");
    int saved = errno;
    *is_there = 0;
    if (!folder || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    long number = 0;
    if (fd >= 0) {
        *is_there = 1;
        long count = syscall(SYS_read, fd, text, sizeof text - 1);
        text[count > 0 ? count : 0] = 0;
        number = strtol(text, NULL, 10);
        syscall(SYS_close, fd);
    }
    errno = saved;
    return number;
}

static void pause_for(long milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* 0, or -1 with errno set. */
static int disturb(void)
{
    int is_there;
    fault("stall", &is_there);
    while (is_there) {
        pause_for(10);
        fault("stall", &is_there);
    }
    long milliseconds = fault("slow", &is_there);
    if (is_there)
        pause_for(milliseconds);
    fault("fail", &is_there);
    if (is_there)
        errno = EIO;
    return is_there ? -1 : 0;
}

int fsync(int fd)
{
    return disturb() ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return disturb() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static int (*next)(clockid_t, struct timespec *);
    if (!next)
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = next(clock, time);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int is_there;
        time->tv_sec += fault("clock", &is_there);
    }
    return failed;
}

int gettimeofday(struct timeval *time, void *zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now))
        return -1;
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result)
        *result = now.tv_sec;
    return now.tv_sec;
}
