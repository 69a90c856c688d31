/* Records what a process writes to the files of one folder, and what it syncs (LD_PRELOAD).
 *
 * $RECORD_FOLDER: files below it are recorded, but for the shared-memory file, which SQLite makes
 * anew after a crash. $RECORD_TO: where the records go, appended with one write each:
 *   u8 kind, u8 file, u64 offset, u32 length, then the data; all little endian.
 * A write is recorded before it is made and a sync after it came back, so that a cut of the power
 * anywhere between two records sees no more on the disk than there was.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NAME = 'n', WRITE = 'w', SYNC = 's', TRUNCATE = 't', UNLINK = 'u' };
enum { MAX_FD = 65536, MAX_FILES = 200 };

static unsigned char file_of[MAX_FD]; /* 0: not recorded */
static char *names[MAX_FILES];
static int files = 0, out = -1;
static const char *folder = NULL;
static size_t folder_length = 0;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    folder = getenv("RECORD_FOLDER");
    const char *to = getenv("RECORD_TO");
    if (!folder || !to) return;
    folder_length = strlen(folder);
    out = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void put(unsigned char kind, unsigned char file, uint64_t offset, const void *data,
                uint32_t length) {
    unsigned char head[14];
    head[0] = kind;
    head[1] = file;
    memcpy(head + 2, &offset, 8);
    memcpy(head + 10, &length, 4);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)data, length}};
    if (syscall(SYS_writev, out, parts, 2) != (long)(sizeof head + length)) abort();
}

static unsigned char number_of(const char *path) {
    for (int i = 1; i <= files; i++)
        if (!strcmp(names[i], path)) return i;
    if (files + 1 >= MAX_FILES) abort();
    names[++files] = strdup(path);
    put(NAME, files, 0, path, strlen(path));
    return files;
}

static int recorded(const char *path) {
    size_t length = strlen(path);
    if (out < 0 || strncmp(path, folder, folder_length)) return 0;
    return length < 4 || strcmp(path + length - 4, "-shm");
}

static void opened(int fd) {
    char link[64], path[PATH_MAX];
    if (out < 0 || fd < 0 || fd >= MAX_FD) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    pthread_mutex_lock(&lock);
    file_of[fd] = recorded(path) ? number_of(path) : 0;
    pthread_mutex_unlock(&lock);
}

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                                    \
    int name(const char *path, int flags, ...) {                                      \
        va_list list;                                                                 \
        va_start(list, flags);                                                        \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;       \
        va_end(list);                                                                 \
        int fd = REAL(name)(path, flags, mode);                                       \
        opened(fd);                                                                   \
        return fd;                                                                    \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd < MAX_FD) file_of[fd] = 0;
    return REAL(close)(fd);
}

static unsigned char file_for(int fd) { return fd >= 0 && fd < MAX_FD ? file_of[fd] : 0; }

#define PWRITE(name, type)                                                            \
    ssize_t name(int fd, const void *data, size_t length, type offset) {              \
        unsigned char file = file_for(fd);                                            \
        if (file) {                                                                   \
            pthread_mutex_lock(&lock);                                                \
            put(WRITE, file, offset, data, length);                                   \
            pthread_mutex_unlock(&lock);                                              \
        }                                                                             \
        return REAL(name)(fd, data, length, offset);                                  \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t length) {
    unsigned char file = file_for(fd);
    if (file) {
        pthread_mutex_lock(&lock);
        put(WRITE, file, lseek(fd, 0, SEEK_CUR), data, length);
        pthread_mutex_unlock(&lock);
    }
    return REAL(write)(fd, data, length);
}

#define TRUNCATES(name, type)                                                         \
    int name(int fd, type length) {                                                   \
        unsigned char file = file_for(fd);                                            \
        if (file) {                                                                   \
            pthread_mutex_lock(&lock);                                                \
            put(TRUNCATE, file, length, "", 0);                                       \
            pthread_mutex_unlock(&lock);                                              \
        }                                                                             \
        return REAL(name)(fd, length);                                                \
    }
TRUNCATES(ftruncate, off_t)
TRUNCATES(ftruncate64, off64_t)

#define SYNCS(name)                                                                   \
    int name(int fd) {                                                                \
        int result = REAL(name)(fd);                                                  \
        unsigned char file = file_for(fd);                                            \
        if (file && result == 0) {                                                    \
            pthread_mutex_lock(&lock);                                                \
            put(SYNC, file, 0, "", 0);                                                \
            pthread_mutex_unlock(&lock);                                              \
        }                                                                             \
        return result;                                                                \
    }
SYNCS(fsync)
SYNCS(fdatasync)

int unlink(const char *path) {
    if (recorded(path)) {
        pthread_mutex_lock(&lock);
        put(UNLINK, number_of(path), 0, "", 0);
        pthread_mutex_unlock(&lock);
    }
    return REAL(unlink)(path);
}
