/* Writes down what a process has written and not yet synced, so that a test can take it back.
 *
 * Preloaded into a server. Before each write to a regular file it appends to the journal (the
 * file that SYNCED_JOURNAL names) where the write goes and what was there before; after each
 * successful sync, which of these are safe. The journal itself survives SIGKILL: the kernel
 * has it. Not covered: names (create, rename, unlink), memory maps, and system calls made
 * around the C library. sync_file_range is no promise and counts for nothing.
 *
 * One record: kind (8 bytes; 1 write, 2 truncate, 3 synced), inode, birth time in ns, offset
 * (for a sync: the sequence number below which this file is safe), length, old size, number of
 * old bytes, old bytes. All numbers are 64 bits, of this machine's byte order.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int journal = -1;
static int tried;
static uint64_t sequence;

static int is_watched(int fd, struct statx *found)
{
    if (!tried) {
        pthread_mutex_lock(&lock);
        if (!tried) {
            const char *path = getenv("SYNCED_JOURNAL");
            if (path)
                journal = (int)syscall(SYS_openat, AT_FDCWD, path,
                                       O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
            tried = 1;
        }
        pthread_mutex_unlock(&lock);
    }
    if (journal < 0 || fd <= 2)
        return 0;
    int saved = errno;
    int failed = statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, found);
    errno = saved;
    return !failed && S_ISREG(found->stx_mode);
}

static void record(uint64_t kind, const struct statx *file, uint64_t offset, uint64_t length,
                   const void *old, uint64_t old_length)
{
    uint64_t birth = (uint64_t)file->stx_btime.tv_sec * 1000000000u + file->stx_btime.tv_nsec;
    uint64_t head[7] = {kind, file->stx_ino, birth, offset, length, file->stx_size, old_length};
    struct iovec parts[2] = {{head, sizeof head}, {(void *)old, old_length}};
    if (syscall(SYS_writev, journal, parts, old_length ? 2 : 1) < (long)sizeof head)
        abort();
    sequence++;
}

/* Before `length` bytes are written at `offset`, or the file is cut there. */
static void before(int fd, const struct statx *file, uint64_t kind, uint64_t offset,
                   uint64_t length)
{
    int saved = errno;
    uint64_t end = kind == 2 ? file->stx_size : offset + length;
    if (end > file->stx_size)
        end = file->stx_size;
    uint64_t old_length = offset < end ? end - offset : 0;
    char *old = old_length ? malloc(old_length) : NULL;
    if (old_length) {
        ssize_t got = syscall(SYS_pread64, fd, old, old_length, offset);
        if (got < 0) { /* Open for writing only: look at it through another descriptor. */
            char path[64] = "/proc/self/fd/";
            char digits[16];
            int at = 15, number = fd;
            digits[at] = 0;
            do
                digits[--at] = (char)('0' + number % 10);
            while (number /= 10);
            strcat(path, digits + at);
            int other = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
            if (other >= 0) {
                got = syscall(SYS_pread64, other, old, old_length, offset);
                syscall(SYS_close, other);
            }
        }
        old_length = got > 0 ? (uint64_t)got : 0;
    }
    pthread_mutex_lock(&lock);
    record(kind, file, offset, length, old, old_length);
    pthread_mutex_unlock(&lock);
    free(old);
    errno = saved;
}

static uint64_t position(int fd, const struct statx *file)
{
    int flags = (int)syscall(SYS_fcntl, fd, F_GETFL);
    if (flags & O_APPEND)
        return file->stx_size;
    return (uint64_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
}

static uint64_t total(const struct iovec *parts, int count)
{
    uint64_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += parts[i].iov_len;
    return sum;
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) \
        next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t length)
{
    struct statx file;
    NEXT(write);
    if (is_watched(fd, &file))
        before(fd, &file, 1, position(fd, &file), length);
    return next(fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct statx file;
    NEXT(writev);
    if (is_watched(fd, &file))
        before(fd, &file, 1, position(fd, &file), total(parts, count));
    return next(fd, parts, count);
}

#define PWRITE(name) \
    ssize_t name(int fd, const void *bytes, size_t length, off_t offset) \
    { \
        struct statx file; \
        NEXT(name); \
        if (is_watched(fd, &file)) \
            before(fd, &file, 1, (uint64_t)offset, length); \
        return next(fd, bytes, length, offset); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define PWRITEV(name) \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t offset) \
    { \
        struct statx file; \
        NEXT(name); \
        if (is_watched(fd, &file)) \
            before(fd, &file, 1, (uint64_t)offset, total(parts, count)); \
        return next(fd, parts, count, offset); \
    }
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define TRUNCATE(name) \
    int name(int fd, off_t size) \
    { \
        struct statx file; \
        NEXT(name); \
        if (is_watched(fd, &file)) \
            before(fd, &file, 2, (uint64_t)size, 0); \
        return next(fd, size); \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

/* The kernel copies by itself: what std::io::copy does between files. */
ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length,
                        unsigned int flags)
{
    struct statx file;
    NEXT(copy_file_range);
    if (length > (1 << 30))
        length = 1 << 30;
    if (is_watched(to, &file))
        before(to, &file, 1, to_offset ? (uint64_t)*to_offset : position(to, &file), length);
    return next(from, from_offset, to, to_offset, length, flags);
}

#define SYNC(name) \
    int name(int fd) \
    { \
        struct statx file; \
        NEXT(name); \
        pthread_mutex_lock(&lock); \
        uint64_t safe = sequence; \
        pthread_mutex_unlock(&lock); \
        int failed = next(fd); \
        if (!failed && is_watched(fd, &file)) { \
            pthread_mutex_lock(&lock); \
            record(3, &file, safe, 0, NULL, 0); \
            pthread_mutex_unlock(&lock); \
        } \
        return failed; \
    }
SYNC(fsync)
SYNC(fdatasync)
