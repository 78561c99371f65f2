/* version.h - the one place where the version stands. */
#ifndef AWQ_VERSION_H
#define AWQ_VERSION_H

#define AWQ_VERSION "0.1.0"

#endif
