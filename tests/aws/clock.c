/* A wall clock that a test can put forward, for the local AWS and the functions it starts: loaded before libc (LD_PRELOAD), so that
   the emulator, its queues and schedules, and every function tell the same time. CLOCK names a file of eight bytes: by how many
   nanoseconds all are ahead of the machine. Waits are measured by the monotonic clock, which stays as it is. Each start of a
   function's process is written down beside it, those included that end before they have worked: CLOCK.starts, a name a line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *ahead;

static void note_start(void) {
  const char *function = getenv("AWS_LAMBDA_FUNCTION_NAME");
  int file = function ? open(CLOCK ".starts", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (file < 0) return;
  dprintf(file, "%s\n", function);
  close(file);
}

__attribute__((constructor)) static void begin(void) {
  note_start();
  int file = open(CLOCK, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  void *mapped = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
  if (mapped != MAP_FAILED) ahead = mapped;
  close(file);
}

int clock_gettime(clockid_t which, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, which, now);
  if (!failed && ahead && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
    long long sum = now->tv_nsec + *ahead;
    now->tv_sec += sum / 1000000000;
    now->tv_nsec = sum % 1000000000;
  }
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec exact;
  if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
  if (out) *out = exact.tv_sec;
  return exact.tv_sec;
}
