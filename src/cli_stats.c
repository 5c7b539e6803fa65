/*
 * stats: the counters of the running server, once as JSON or, with --watch, as a view that is renewed each second.
 *
 * The view is made of what the server tells everybody (/stats) and the administrator (/status, /api/cache/status);
 * where it will not tell, the rest is shown. On a terminal it is drawn in place, and the terminal is left as it was
 * found; elsewhere one block follows the other.
 */
#include "cli.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/metrics.h"
#include "base/sys.h"

#define WATCH_MS 1000

/* What the server has told in one round. */
struct sample {
    int64_t at_ms; /* monotonic; 0: nothing yet */
    struct buf stats, status, cache;
};

struct watch {
    const struct config *config;
    struct sample now, before;
    bool on_terminal, has_keys;
    struct termios terminal; /* as it was found */
};

static volatile sig_atomic_t told_to_end;

static void on_signal(int number)
{
    (void)number;
    told_to_end = 1;
}

/* Where the value of member NAME begins in TEXT, which larder has made: no name in it is that of two members. */
static const char *find_value(const struct buf *text, const char *name)
{
    char quoted[64];
    int len = snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *found = text->len > 0 ? memmem(text->p, text->len, quoted, (size_t)len) : NULL;

    return found ? found + len : NULL;
}

static uint64_t count(const struct sample *sample, const char *name)
{
    const char *value = find_value(&sample->stats, name);

    return value ? strtoull(value, NULL, 10) : 0;
}

/* How much a counter has grown since the last round; all of it when the server has been started anew. */
static uint64_t growth(const struct watch *watch, const char *name)
{
    uint64_t now = count(&watch->now, name), before = count(&watch->before, name);

    return now >= before ? now - before : now;
}

static double per_second(const struct watch *watch, const char *name)
{
    int64_t ms = watch->now.at_ms - watch->before.at_ms;

    return watch->before.at_ms == 0 || ms <= 0 ? 0 : (double)growth(watch, name) * 1000 / (double)ms;
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (double)part * 100 / (double)whole;
}

static void add_hit_rates(const struct watch *watch, struct buf *out)
{
    uint64_t l1 = growth(watch, "hits_l1"), l2 = growth(watch, "hits_l2"), misses = growth(watch, "misses"),
             collapsed = growth(watch, "collapsed"), stale = growth(watch, "stale_served"),
             asked = l1 + l2 + misses + stale;

    if (asked == 0) {
        buf_add_str(out, STR("hit rate   nothing was asked of the cache\n"));
        return;
    }
    buf_printf(out,
               "hit rate   %.1f %%: L1 %.1f %%, L2 %.1f %%; origin %.1f %%, waited for another's answer %" PRIu64 "\n",
               percent(l1 + l2, asked), percent(l1, asked), percent(l2, asked), percent(misses, asked), collapsed);
}

static void add_origin(const struct watch *watch, struct buf *out)
{
    uint64_t statements = growth(watch, "statements"), us = growth(watch, "statement_us");

    buf_printf(out, "origin     %.0f statements/s", per_second(watch, "statements"));
    if (statements > 0)
        buf_printf(out, ", %.2f ms each", (double)us / 1000 / (double)statements);
    buf_printf(out, "; %.0f writes/s, %.0f failed/s\n", per_second(watch, "writes"),
               per_second(watch, "write_failures"));
}

/* The durations of TIER since the server's start; none where it tells them otherwise than this program would. */
static struct metrics_histogram durations(const struct sample *sample, enum metrics_tier tier)
{
    /* A resource may be called like a tier; their names come before this. */
    static const char start[] = "\"latency\":{\"bounds_us\":";
    const struct buf *stats = &sample->stats;
    const char *at = stats->len > 0 ? memmem(stats->p, stats->len, start, sizeof start - 1) : NULL;
    struct metrics_histogram found = {0};
    char quoted[32];

    snprintf(quoted, sizeof quoted, "\"%s\":{", metrics_tier_name(tier));
    at = at ? strstr(at, quoted) : NULL;
    at = at ? strstr(at, "\"buckets\":") : NULL;
    at = at ? strchr(at, '[') : NULL;
    unsigned count = 0;
    for (; at && (*at == '[' || *at == ',') && count < METRICS_BUCKETS; count++) {
        char *end;
        found.buckets[count] = strtoull(at + 1, &end, 10);
        at = end;
    }
    return at && *at == ']' && count == METRICS_BUCKETS ? found : (struct metrics_histogram){0};
}

/* Adds to SUM what has come to the durations of TIER since the last round; all of it when the server has been started
 * anew. */
static void add_durations(const struct watch *watch, enum metrics_tier tier, struct metrics_histogram *sum)
{
    const struct metrics_histogram now = durations(&watch->now, tier), before = durations(&watch->before, tier);
    bool anew = false;

    for (unsigned i = 0; i < METRICS_BUCKETS; i++)
        anew |= now.buckets[i] < before.buckets[i];
    for (unsigned i = 0; i < METRICS_BUCKETS; i++)
        sum->buckets[i] += now.buckets[i] - (anew ? 0 : before.buckets[i]);
}

static void add_quantiles(const char *what, const struct metrics_histogram *histogram, struct buf *out)
{
    if (metrics_tier_count(histogram) == 0)
        buf_printf(out, "%s none", what);
    else
        buf_printf(out, "%s p50 %.3f ms, p99 %.3f ms", what, (double)metrics_quantile(histogram, 0.5) / 1000,
                   (double)metrics_quantile(histogram, 0.99) / 1000);
}

/* Of what was answered in this interval; without larder's own routes, which this view asks itself. */
static void add_latency(const struct watch *watch, struct buf *out)
{
    struct metrics_histogram reads = {0}, writes = {0};

    add_durations(watch, METRICS_TIER_l1, &reads);
    add_durations(watch, METRICS_TIER_l2, &reads);
    add_durations(watch, METRICS_TIER_origin, &reads);
    add_durations(watch, METRICS_TIER_write, &writes);
    add_quantiles("latency    reads", &reads, out);
    add_quantiles("; writes", &writes, out);
    buf_add_char(out, '\n');
}

/* The string behind NAME, as it stands in the JSON. */
static struct str word_of(const struct buf *text, const char *name)
{
    const char *value = find_value(text, name);
    const char *end = value && *value == '"' ? memchr(value + 1, '"', (size_t)(text->p + text->len - value - 1)) : NULL;

    return end ? (struct str){value + 1, (size_t)(end - value - 1)} : STR("?");
}

static void add_breaker(const struct watch *watch, struct buf *out)
{
    const struct buf *cache = &watch->now.cache;
    const char *reachable = find_value(cache, "reachable");

    if (cache->len == 0) {
        buf_add_str(out, STR("breaker    the server tells it with the admin token alone\n"));
        return;
    }
    buf_printf(out, "breaker    %.*s; %.*s is %s\n", STR_ARG(word_of(cache, "breaker")),
               STR_ARG(word_of(cache, "backend")), reachable && *reachable == 't' ? "there" : "away");
}

static void add_view(const struct watch *watch, struct buf *out)
{
    buf_printf(out, "requests   %.0f/s: %.0f 2xx, %.0f 3xx, %.0f 4xx, %.0f 5xx\n", per_second(watch, "requests"),
               per_second(watch, "responses_2xx"), per_second(watch, "responses_3xx"),
               per_second(watch, "responses_4xx"), per_second(watch, "responses_5xx"));
    add_latency(watch, out);
    add_hit_rates(watch, out);
    add_origin(watch, out);
    add_breaker(watch, out);
    if (watch->now.status.len > 0)
        buf_printf(out, "\n%.*s", STR_ARG(buf_str(&watch->now.status)));
}

static void free_sample(struct sample *sample)
{
    buf_free(&sample->stats);
    buf_free(&sample->status);
    buf_free(&sample->cache);
}

/* Asks; what only the administrator is told may be missing. */
static enum err take_sample(struct watch *watch, struct buf *why)
{
    struct sample sample = {.at_ms = sys_monotonic_ms()};
    struct buf unsaid = {0};
    enum err err = cli_ask_server(
        watch->config, &(struct cli_question){.method = "GET", .uri = "/stats", .answer = &sample.stats, .why = why});

    if (err == ERR_OK && cli_ask_server(watch->config, &(struct cli_question){.method = "GET",
                                                                              .uri = "/status",
                                                                              .accept = "text/plain",
                                                                              .answer = &sample.status,
                                                                              .why = &unsaid}) != ERR_OK)
        buf_clear(&sample.status);
    if (err == ERR_OK && cli_ask_server(watch->config, &(struct cli_question){.method = "GET",
                                                                              .uri = "/api/cache/status",
                                                                              .answer = &sample.cache,
                                                                              .why = &unsaid}) != ERR_OK)
        buf_clear(&sample.cache);
    buf_free(&unsaid);
    if (err != ERR_OK) {
        free_sample(&sample);
        return err;
    }
    free_sample(&watch->before);
    watch->before = watch->now;
    watch->now = sample;
    return ERR_OK;
}

/* TEXT from the top left corner on, cut to what the terminal shows. */
static void draw(struct str text)
{
    struct winsize size = {0};
    struct buf out = {0};
    unsigned rows, columns;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    rows = size.ws_row;
    columns = size.ws_col;
    buf_add_str(&out, STR("\033[H"));
    for (unsigned row = 0; row + 1 < rows && text.len > 0; row++) {
        struct str line = str_cut(&text, '\n');

        buf_add(&out, line.p, line.len < columns ? line.len : columns);
        buf_add_str(&out, STR("\033[K\n"));
    }
    buf_add_str(&out, STR("\033[J"));
    fwrite(out.p, 1, out.len, stdout);
    fflush(stdout);
    buf_free(&out);
}

static void begin_drawing(struct watch *watch)
{
    watch->on_terminal = isatty(STDOUT_FILENO);
    watch->has_keys = watch->on_terminal && tcgetattr(STDIN_FILENO, &watch->terminal) == 0;
    if (watch->has_keys) {
        struct termios keys = watch->terminal;

        keys.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &keys);
    }
    /* A screen of its own, without a cursor. */
    if (watch->on_terminal)
        fputs("\033[?1049h\033[?25l\033[2J", stdout);
}

static void end_drawing(const struct watch *watch)
{
    if (watch->on_terminal)
        fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    if (watch->has_keys)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &watch->terminal);
}

/* Until the next round is due. False: the end is wanted. */
static bool wait_until(const struct watch *watch, int64_t due_ms)
{
    for (;;) {
        int64_t left_ms = due_ms - sys_monotonic_ms();
        struct pollfd keys = {.fd = watch->has_keys ? STDIN_FILENO : -1, .events = POLLIN};
        char key;

        if (told_to_end)
            return false;
        if (left_ms <= 0)
            return true;
        if (poll(&keys, 1, (int)left_ms) <= 0)
            continue;
        if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q')
            return false;
    }
}

static bool print(const struct watch *watch, struct str text)
{
    if (watch->on_terminal) {
        draw(text);
        return true;
    }
    printf("%.*s\n", STR_ARG(text));
    return fflush(stdout) == 0;
}

static int watch_server(const struct config *config)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};
    struct watch watch = {.config = config};
    struct buf why = {0}, view = {0};

    if (take_sample(&watch, &why) != ERR_OK) {
        fprintf(stderr, "larder: %s\n", why.p);
        buf_free(&why);
        return 1;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
    begin_drawing(&watch);
    int64_t due_ms = watch.now.at_ms;
    bool printing = true;
    while (printing && wait_until(&watch, due_ms += WATCH_MS)) {
        buf_clear(&why);
        buf_clear(&view);
        if (take_sample(&watch, &why) == ERR_OK)
            add_view(&watch, &view);
        else
            buf_printf(&view, "larder: %s\n", why.p);
        printing = print(&watch, buf_str(&view));
    }
    end_drawing(&watch);
    free_sample(&watch.now);
    free_sample(&watch.before);
    buf_free(&why);
    buf_free(&view);
    return 0;
}

static int print_once(const struct config *config)
{
    struct buf answer = {0}, why = {0};
    enum err err = cli_ask_server(
        config, &(struct cli_question){.method = "GET", .uri = "/stats", .answer = &answer, .why = &why});

    if (err == ERR_OK)
        printf("%.*s\n", STR_ARG(buf_str(&answer)));
    else
        fprintf(stderr, "larder: %s\n", why.p ? why.p : err_text(err));
    buf_free(&answer);
    buf_free(&why);
    return err == ERR_OK ? 0 : 1;
}

int cli_stats(const struct cli *cli)
{
    struct config *config;

    if (cli->argc != 0) {
        fprintf(stderr, "usage: larder stats [--watch]\n");
        return 2;
    }
    if (!cli_load_config(cli, &config))
        return 2;
    int code = cli->watch ? watch_server(config) : print_once(config);
    config_free(&config);
    return code;
}
