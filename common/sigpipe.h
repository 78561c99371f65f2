/*
 * sigpipe.h - writing to a link that the far side has closed must not end the process.
 * Owns    the disposition of SIGPIPE, unless the program has set one.
 * Thread  any; before the first TLS link.
 * Source  OpenSSL writes with write(2), which raises SIGPIPE; there is no MSG_NOSIGNAL for it
 *         (SSL_write(3), signal(7)).
 */
#ifndef AWQ_SIGPIPE_H
#define AWQ_SIGPIPE_H

void sigpipe_ignore(void);

#endif
