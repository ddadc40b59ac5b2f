/* A process whose wall clock is as many seconds ahead of the others' as the file TEST_CLOCK_FILE says at the time (one
   double). It is loaded before libc (LD_PRELOAD), into programs that no Python is in. */

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const double *ahead;

__attribute__((constructor)) static void look(void) {
    const char *name = getenv("TEST_CLOCK_FILE");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *page = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, file, 0);
        ahead = page == MAP_FAILED ? NULL : page;
        close(file);
    }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += (time_t)*ahead;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec right;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &right);
    now->tv_sec = right.tv_sec;
    now->tv_usec = right.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec right;
    clock_gettime(CLOCK_REALTIME, &right);
    if (now)
        *now = right.tv_sec;
    return right.tv_sec;
}
