/* Makes syncs fail or slow (LD_PRELOAD).
 *
 * $FAIL_SYNCS_IF: while this file exists every fsync and fdatasync fails with EIO.
 * $SLOW_SYNCS_US: every fsync and fdatasync takes this many microseconds longer.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define SYNCS(name)                                                            \
    int name(int fd) {                                                         \
        const char *file = getenv("FAIL_SYNCS_IF");                            \
        const char *slow = getenv("SLOW_SYNCS_US");                            \
        if (slow) usleep(atoi(slow));                                          \
        if (file && access(file, F_OK) == 0) {                                 \
            errno = EIO;                                                       \
            return -1;                                                         \
        }                                                                      \
        return ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))(fd);              \
    }
SYNCS(fsync)
SYNCS(fdatasync)
