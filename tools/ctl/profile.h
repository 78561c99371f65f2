/*
 * profile.h - awq-ctl profile: the provider profiles that are here.
 * Owns    nothing.
 * Thread  the only one.
 */
#ifndef AWQ_CTL_PROFILE_H
#define AWQ_CTL_PROFILE_H

#include "tools/ctl/ctl.h"

/* The folder: what was asked for, AWQ_PROFILES, what was installed beside this program, or what is
 * in the source tree that it was built in. "" = there is none. */
const char *profile_folder(const char *asked);

#endif
