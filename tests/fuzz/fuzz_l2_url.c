/* Any URL is taken or refused with a sentence; what is taken prints to a URL that means the same, without secrets. */
#include <stdlib.h>

#include "l2/l2_url.h"

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct buf why = {0}, printed = {0}, again = {0};
    struct l2_url url, second;

    if (l2_url_parse(text, &url, &why) != ERR_OK) {
        require(why.len > 0);
        buf_free(&why);
        return 0;
    }
    require(why.len == 0);
    require(url.database >= -1 && url.database <= 65535);
    l2_url_print(&url, 0, &printed);
    require(!str_has_control(buf_str(&printed)));
    require(l2_url_parse(buf_str(&printed), &second, &why) == ERR_OK);
    require(second.kind == url.kind && !second.user && !second.password);
    require(url.kind != L2_URL_TCP || (strcmp(url.host, second.host) == 0 && url.port == second.port));
    require(url.kind != L2_URL_UNIX || strcmp(url.path, second.path) == 0);
    l2_url_print(&second, 0, &again);
    require(str_equal(buf_str(&printed), buf_str(&again)));
    l2_url_fini(&url);
    l2_url_fini(&second);
    buf_free(&printed);
    buf_free(&again);
    return 0;
}
