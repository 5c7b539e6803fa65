/*
 * err: the words of each error, and the way from errno to an enum err.
 *
 * Invariant: every value of the enum has its text in the one table of the header, so nothing can be added to the one
 * and forgotten in the other. A number that is no enum err still gets words: a person may be reading them.
 *
 * It logs nothing, keeps nothing and knows no HTTP status.
 */
#include "base/err.h"

#include <errno.h>

const char *err_text(enum err err)
{
#define ERR_WORDS(name, text) [ERR_##name] = text,
    static const char *const words[ERR_COUNT] = {ERR_TABLE(ERR_WORDS)};
#undef ERR_WORDS

    if ((unsigned)err >= ERR_COUNT)
        return "unknown error";
    return words[err];
}

enum err err_from_errno(int number)
{
    switch (number) {
    case 0:
        return ERR_OK;
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EISDIR:
        return ERR_DIRECTORY;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case EEXIST:
        return ERR_EXISTS;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
        return ERR_FULL;
    case EROFS:
        return ERR_READ_ONLY;
    case EFBIG:
    case ENAMETOOLONG:
    case EMSGSIZE:
        return ERR_LIMIT;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EBUSY:
    case EADDRINUSE:
        return ERR_BUSY;
    case EAGAIN:
        return ERR_AGAIN;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENOTCONN:
        return ERR_UNAVAILABLE;
    default:
        return ERR_IO;
    }
}
