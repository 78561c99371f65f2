/*
 * elsewhere.c - preloaded into a worker: a public address that is really here, on loopback.
 * The rule about private addresses cannot be tested on loopback alone, where every server is
 * private. 198.41.0.4 is what the worker resolves, dials and finds at the other end of its socket;
 * the one that answers is 127.0.0.1.
 * Thread  any.
 */
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define ELSEWHERE 0xc6290004U /* 198.41.0.4, a root name server */
#define SOCKETS   65536

static _Atomic char is_elsewhere[SOCKETS]; /* by socket, since it was last connected */

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    int (*real)(int, const struct sockaddr *, socklen_t);
    struct sockaddr_in to = {0};

    *(void **)&real = dlsym(RTLD_NEXT, "connect");
    if (addr->sa_family == AF_INET && len >= sizeof to)
        memcpy(&to, addr, sizeof to);
    if (fd >= 0 && fd < SOCKETS)
        is_elsewhere[fd] = to.sin_addr.s_addr == htonl(ELSEWHERE);
    if (to.sin_addr.s_addr != htonl(ELSEWHERE))
        return real(fd, addr, len);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return real(fd, (struct sockaddr *)&to, sizeof to);
}

int getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    int (*real)(int, struct sockaddr *, socklen_t *);
    int rc;

    *(void **)&real = dlsym(RTLD_NEXT, "getpeername");
    rc = real(fd, addr, len);
    if (rc == 0 && addr->sa_family == AF_INET && fd < SOCKETS && is_elsewhere[fd])
        ((struct sockaddr_in *)addr)->sin_addr.s_addr = htonl(ELSEWHERE);
    return rc;
}
