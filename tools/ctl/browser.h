/*
 * browser.h - open a page of ours in the browser of whoever sits here, where there is one.
 * Owns    nothing: the browser goes on by itself.
 * Thread  the only one.
 * Errors  none: the address was printed, too.
 */
#ifndef AWQ_CTL_BROWSER_H
#define AWQ_CTL_BROWSER_H

/* http://127.0.0.1:PORT/PATH, by the command in BROWSER, or where there is a desktop (DISPLAY,
 * WAYLAND_DISPLAY) by xdg-open. Other addresses must not be given to it: they are in the process
 * list for all to see. */
void browser_open(unsigned port, const char *path);

#endif
