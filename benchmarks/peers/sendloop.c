/* The bar for a fan-out: one ready frame, send() to every socket, and nothing else.
   sendloop LISTENERS ROUNDS FRAME_BYTES: prints its port, accepts, then the median CPU microseconds per delivery. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static double cpu(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return r.ru_utime.tv_sec + r.ru_stime.tv_sec + 1e-6 * (r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  int listeners = atoi(argv[1]), rounds = atoi(argv[2]), size = atoi(argv[3]), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int server = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(server, (void *)&address, length) || listen(server, 2048)) return 1;
  getsockname(server, (void *)&address, &length);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  int *sockets = malloc(listeners * sizeof *sockets);
  char *frame = malloc(size);
  double *costs = malloc(rounds * sizeof *costs);
  memset(frame, 'x', size);
  for (int n = 0; n < listeners; n++) {
    sockets[n] = accept(server, 0, 0);
    setsockopt(sockets[n], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  usleep(300000);
  for (int r = 0; r < rounds; r++) {
    double before = cpu();
    for (int n = 0; n < listeners; n++) send(sockets[n], frame, size, MSG_NOSIGNAL);
    costs[r] = (cpu() - before) / listeners * 1e6;
    usleep(15000);
  }
  qsort(costs, rounds, sizeof *costs, ascending);
  printf("%f\n", costs[rounds / 2]);
  return 0;
}
