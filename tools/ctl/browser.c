#include "tools/ctl/browser.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;

static const char *command(void)
{
    const char *set = getenv("BROWSER");

    if (set && *set)
        return set;
    return getenv("DISPLAY") || getenv("WAYLAND_DISPLAY") ? "xdg-open" : NULL;
}

void browser_open(unsigned port, const char *path)
{
    const char *program = command();
    posix_spawn_file_actions_t quiet;
    posix_spawnattr_t apart;
    char address[64];
    char *argv[] = {(char *)(unsigned long)program, address, NULL};
    pid_t child;

    if (!program)
        return;
    snprintf(address, sizeof address, "http://127.0.0.1:%u%s", port, path);
    posix_spawn_file_actions_init(&quiet);
    for (int fd = 0; fd < 3; fd++) /* its chatter is not ours */
        posix_spawn_file_actions_addopen(&quiet, fd, "/dev/null", fd == 0 ? O_RDONLY : O_WRONLY, 0);
    posix_spawnattr_init(&apart);
    posix_spawnattr_setflags(&apart, POSIX_SPAWN_SETPGROUP); /* ^C is for us */
    (void)posix_spawnp(&child, program, &quiet, &apart, argv, environ);
    posix_spawnattr_destroy(&apart);
    posix_spawn_file_actions_destroy(&quiet);
}
