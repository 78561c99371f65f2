#include "common/egress.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

enum reach {
    REACH_PUBLIC,
    REACH_PRIVATE, /* allowed by allow_private */
    REACH_NEVER,   /* no server lives there */
};

struct range4 {
    uint32_t net;
    unsigned bits;
    enum reach reach;
    const char *what;
};

struct range6 {
    uint64_t high, low;
    unsigned bits;
    enum reach reach;
    const char *what;
};

#define IP4(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

/* IANA's special-purpose registries (RFC 6890), first match wins, and the metadata services of
 * clouds, which hand out credentials to whoever can reach them. */
static const struct range4 ranges4[] = {
    {IP4(169, 254, 169, 254), 32, REACH_PRIVATE, "a metadata service"},
    {IP4(100, 100, 100, 200), 32, REACH_PRIVATE, "a metadata service"},
    {IP4(168, 63, 129, 16), 32, REACH_PRIVATE, "a metadata service"},
    {IP4(0, 0, 0, 0), 8, REACH_NEVER, "unspecified"}, /* 0.0.0.0 dials this very host */
    {IP4(10, 0, 0, 0), 8, REACH_PRIVATE, "private"},
    {IP4(100, 64, 0, 0), 10, REACH_PRIVATE, "shared by a carrier"},
    {IP4(127, 0, 0, 0), 8, REACH_PRIVATE, "loopback"},
    {IP4(169, 254, 0, 0), 16, REACH_PRIVATE, "link-local"},
    {IP4(172, 16, 0, 0), 12, REACH_PRIVATE, "private"},
    {IP4(192, 0, 0, 0), 24, REACH_PRIVATE, "for protocols"},
    {IP4(192, 0, 2, 0), 24, REACH_NEVER, "for documentation"},
    {IP4(192, 88, 99, 0), 24, REACH_NEVER, "a 6to4 relay"},
    {IP4(192, 168, 0, 0), 16, REACH_PRIVATE, "private"},
    {IP4(198, 18, 0, 0), 15, REACH_PRIVATE, "for benchmarks"},
    {IP4(198, 51, 100, 0), 24, REACH_NEVER, "for documentation"},
    {IP4(203, 0, 113, 0), 24, REACH_NEVER, "for documentation"},
    {IP4(224, 0, 0, 0), 4, REACH_NEVER, "multicast"},
    {IP4(255, 255, 255, 255), 32, REACH_NEVER, "broadcast"},
    {IP4(240, 0, 0, 0), 4, REACH_NEVER, "reserved"},
};

static const struct range6 ranges6[] = {
    {0, 0, 128, REACH_NEVER, "unspecified"},
    {0, 1, 128, REACH_PRIVATE, "loopback"},
    {0xfd000ec200000000, 0x254, 128, REACH_PRIVATE, "a metadata service"}, /* fd00:ec2::254 */
    {0xfc00000000000000, 0, 7, REACH_PRIVATE, "private"},
    {0xfe80000000000000, 0, 10, REACH_PRIVATE, "link-local"},
    {0xfec0000000000000, 0, 10, REACH_PRIVATE, "site-local"},
    {0x0064ff9b00010000, 0, 48, REACH_PRIVATE, "behind a local translator"}, /* RFC 8215 */
    {0xff00000000000000, 0, 8, REACH_NEVER, "multicast"},
    {0x2001000000000000, 0, 32, REACH_NEVER, "a Teredo tunnel"},
    {0x2001000000000000, 0, 23, REACH_NEVER, "for protocols"},
    {0x20010db800000000, 0, 32, REACH_NEVER, "for documentation"},
    {0x3fff000000000000, 0, 20, REACH_NEVER, "for documentation"}, /* RFC 9637 */
    {0x2000000000000000, 0, 3, REACH_PUBLIC, ""},
    {0, 0, 0, REACH_NEVER, "outside the global range"},
};

static bool in_range6(uint64_t high, uint64_t low, const struct range6 *r)
{
    if (r->bits == 0)
        return true;
    if (r->bits <= 64)
        return (high ^ r->high) >> (64 - r->bits) == 0;
    return high == r->high && (low ^ r->low) >> (128 - r->bits) == 0;
}

static bool allow_reach(bool allow_private, enum reach reach, const char *what, int family,
                        const void *addr, struct err *err)
{
    char text[INET6_ADDRSTRLEN] = "?";

    if (reach == REACH_PUBLIC || (reach == REACH_PRIVATE && allow_private))
        return true;
    inet_ntop(family, addr, text, sizeof text);
    return err_rule(err, ERR_DENIED, "address_not_allowed", "the address %s is %s%s", text, what,
                    reach == REACH_PRIVATE ? EGRESS_PRIVATE : "");
}

static bool check4(bool allow_private, const uint8_t *a, struct err *err)
{
    uint32_t addr = IP4(a[0], a[1], a[2], a[3]);

    for (size_t i = 0; i < ARRAY_LEN(ranges4); i++) {
        const struct range4 *r = &ranges4[i];

        if ((addr ^ r->net) >> (32 - r->bits) == 0)
            return allow_reach(allow_private, r->reach, r->what, AF_INET, a, err);
    }
    return true;
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

/* The IPv4 address that the kernel or a gateway would really talk to; NULL when there is none. */
static const uint8_t *embedded4(const uint8_t *a, uint64_t high, uint64_t low)
{
    if (high == 0 && (low >> 32 == 0xffff ||        /* ::ffff:a.b.c.d, IPv4-mapped */
                      low >> 32 == 0xffff0000 ||    /* ::ffff:0:a.b.c.d, translated, RFC 2765 */
                      (low >> 32 == 0 && low > 1))) /* ::a.b.c.d, compatible; not :: nor ::1 */
        return a + 12;
    if (high == 0x0064ff9b00000000 && low >> 32 == 0) /* NAT64, RFC 6052 */
        return a + 12;
    if (high >> 48 == 0x2002) /* 6to4, RFC 3056 */
        return a + 2;
    return NULL;
}

static bool check6(bool allow_private, const uint8_t *a, struct err *err)
{
    uint64_t high = load64(a), low = load64(a + 8);
    const uint8_t *v4 = embedded4(a, high, low);

    if (v4)
        return check4(allow_private, v4, err);
    /* ISATAP (RFC 5214): any prefix, and the IPv4 address behind it */
    if ((low >> 32 & ~(uint64_t)0x02000000) == 0x5efe && !check4(allow_private, a + 12, err))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(ranges6); i++) {
        const struct range6 *r = &ranges6[i];

        if (in_range6(high, low, r))
            return allow_reach(allow_private, r->reach, r->what, AF_INET6, a, err);
    }
    return true;
}

bool egress_check_address(bool allow_private, const struct sockaddr *addr, struct err *err)
{
    if (addr->sa_family == AF_INET)
        return check4(allow_private, (const uint8_t *)&((const struct sockaddr_in *)addr)->sin_addr,
                      err);
    if (addr->sa_family == AF_INET6)
        return check6(allow_private,
                      (const uint8_t *)&((const struct sockaddr_in6 *)addr)->sin6_addr, err);
    return err_rule(err, ERR_DENIED, "address_not_allowed", "not an internet address");
}
