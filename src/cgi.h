/*
 * cgi: plain CGI (RFC 3875): the program started for one request, with the request in its environment.
 */
#ifndef LARDER_CGI_H
#define LARDER_CGI_H

#include <stdbool.h>

/* Whether this process was started so. */
bool cgi_is_asked(void);
/* Answers the request that environment and standard input hold, on standard output. The exit code of the process: 0,
 * also after an error answer; 1 when the answer could not be written. */
int cgi_run(const char *config_path);

#endif
