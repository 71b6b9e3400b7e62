/* Writes down what a process has written and not yet synced, so that a test can take it back.
 *
 * Preloaded into a server. Before each write to a regular file it appends to the journal (the
 * file that SYNCED_JOURNAL names) where the write goes and what was there before; after each
 * successful sync, which of these are safe. The journal itself survives SIGKILL: the kernel
 * has it. Names are written down as well: each file or folder that was made, renamed, linked or
 * removed, until the folder is synced. A file that loses its last name so keeps one more, in the
 * folder beside the journal. Not covered: memory maps, and system calls made around the C
 * library. sync_file_range is no promise and counts for nothing.
 *
 * One record: kind (8 bytes; 1 write, 2 truncate, 3 synced), inode, birth time in ns, offset
 * (for a sync: the sequence number below which this file is safe), length, old size, number of
 * old bytes, old bytes. All numbers are 64 bits, of this machine's byte order.
 *
 * For a name: kind (10 made, 11 removed, 12 renamed), inode and birth time of its folder, number
 * under which the file that had the name is kept or 0, length of the first path, 0, number of
 * bytes of both paths, the paths.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
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

static void prepare(void)
{
    if (tried)
        return;
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

static int look(int folder, const char *path, int flags, struct statx *found)
{
    int saved = errno;
    int failed = statx(folder, path, flags, STATX_BASIC_STATS | STATX_BTIME, found);
    errno = saved;
    return !failed;
}

static int is_watched(int fd, struct statx *found)
{
    prepare();
    return journal >= 0 && fd > 2 && look(fd, "", AT_EMPTY_PATH, found) &&
           S_ISREG(found->stx_mode);
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
        prepare(); \
        if (!failed && journal >= 0 && fd > 2 && look(fd, "", AT_EMPTY_PATH, &file) && \
            (S_ISREG(file.stx_mode) || S_ISDIR(file.stx_mode))) { \
            pthread_mutex_lock(&lock); \
            record(3, &file, safe, 0, NULL, 0); \
            pthread_mutex_unlock(&lock); \
        } \
        return failed; \
    }
SYNC(fsync)
SYNC(fdatasync)

/* Names, below. Only absolute paths: the programs that are watched use no others. */

static int is_named(const char *path)
{
    prepare();
    return journal >= 0 && path[0] == '/' && strlen(path) < PATH_MAX - 32;
}

static int exists(const char *path)
{
    struct statx found;
    return look(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &found);
}

/* Gives the file at `path`, if there is one, another name; its number, or 0. */
static uint64_t keep(const char *path)
{
    static uint64_t last;
    char kept[PATH_MAX];
    if (!exists(path))
        return 0;
    int saved = errno;
    uint64_t number = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
    snprintf(kept, sizeof kept, "%s.kept/%llu", getenv("SYNCED_JOURNAL"),
             (unsigned long long)number);
    if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, kept, 0))
        number = 0;
    errno = saved;
    return number;
}

/* After a name was changed: `other` is where it was before, or NULL. */
static void named(uint64_t kind, const char *path, const char *other, uint64_t kept)
{
    struct statx folder;
    char both[2 * PATH_MAX];
    size_t first = strlen(path), second = other ? strlen(other) : 0;
    memcpy(both, path, first + 1);
    char *slash = strrchr(both, '/');
    slash[slash == both ? 1 : 0] = 0;
    if (!look(AT_FDCWD, both, 0, &folder))
        return;
    memcpy(both, path, first);
    memcpy(both + first, other ? other : "", second);
    folder.stx_size = 0;
    int saved = errno;
    pthread_mutex_lock(&lock);
    record(kind, &folder, kept, first, both, first + second);
    pthread_mutex_unlock(&lock);
    errno = saved;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        NEXT(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        int is_new = flags & O_CREAT && is_named(path) && !exists(path); \
        int fd = next(path, flags, mode); \
        if (is_new && fd >= 0) \
            named(10, path, NULL, 0); \
        return fd; \
    }
OPEN(open)
OPEN(open64)

int unlink(const char *path)
{
    NEXT(unlink);
    uint64_t kept = is_named(path) ? keep(path) : 0;
    int failed = next(path);
    if (!failed && kept)
        named(11, path, NULL, kept);
    return failed;
}

int rename(const char *from, const char *to)
{
    NEXT(rename);
    int is_ours = is_named(from) && is_named(to);
    uint64_t kept = is_ours ? keep(to) : 0;
    int failed = next(from, to);
    if (!failed && is_ours)
        named(12, to, from, kept);
    return failed;
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    NEXT(linkat);
    int failed = next(from_folder, from, to_folder, to, flags);
    if (!failed && is_named(to))
        named(10, to, NULL, 0);
    return failed;
}

int mkdir(const char *path, mode_t mode)
{
    NEXT(mkdir);
    int failed = next(path, mode);
    if (!failed && is_named(path))
        named(10, path, NULL, 0);
    return failed;
}
