/*
 * guard: the check between match and handle.
 *
 * Invariant: a route that asks for anything is closed unless the whole configured token was presented; an empty token
 * in the configuration admits nobody. Routes for holders of keys take the admin token too. The comparison takes the
 * same time wherever two tokens differ, and neither the token nor what was presented instead is logged or answered.
 *
 * It refuses tokens in queries, cookies and bodies, which end up in logs and histories.
 */
#include "api/guard.h"

#include "api/app.h"
#include "base/sys.h"

/* The token of `Bearer TOKEN` (RFC 6750, section 2.1; the scheme's case does not matter: RFC 9110, section 11.1). */
static bool bearer_token(struct str authorization, struct str *token)
{
    struct str rest = str_trim(authorization);
    struct str scheme = str_word(&rest);

    *token = str_trim(rest);
    return str_equal_nocase(scheme, STR("Bearer")) && token->len > 0;
}

static void demand(struct http *http, bool presented)
{
    if (presented) {
        app_problem(http, 401, "This token is not valid here. Send the admin token as `Authorization: Bearer TOKEN`.");
        http_header(http, "WWW-Authenticate", STR("Bearer realm=\"larder\", error=\"invalid_token\""));
    } else {
        app_problem(http, 401, "This route needs a token. Send the admin token as `Authorization: Bearer TOKEN`.");
        http_header(http, "WWW-Authenticate", STR("Bearer realm=\"larder\""));
    }
}

bool guard_admits(const struct config *config, enum catalog_auth auth, struct http *http)
{
    struct str expected = str_from(config->auth.admin_token), token;

    if (auth == CATALOG_AUTH_NONE)
        return true;
    if (expected.len == 0) {
        app_problem(http, 403,
                    "This route needs the admin token, and none is configured. Set `admin_token` or "
                    "`admin_token_file` under [auth] in larder.conf and reload.");
        return false;
    }
    bool presented = bearer_token(http->in.authorization, &token);
    if (presented && sys_secret_equal(token, expected))
        return true;
    demand(http, presented);
    return false;
}
