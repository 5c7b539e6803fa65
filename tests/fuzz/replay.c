/*
 * replay: runs a fuzz target over every file of its corpus, so that each run of the tests repeats what fuzzing has found.
 *
 * Linked with one fuzz_NAME.c. Without arguments it takes $LARDER_SOURCE/tests/fuzz/corpus/NAME, NAME being its own name
 * less `fuzz_`; arguments are files or directories to take instead. The invariant: a corpus that is not there or empty
 * is a failure, so a target can never pass by having nothing to do. It does not mutate inputs and keeps no coverage.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Gives each target a heap block of the exact size, so that a sanitizer sees the first byte read past it. */
static int run_file(const char *path, size_t *count)
{
    uint8_t *bytes = NULL;
    struct stat info;
    int failed = 1;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &info) != 0)
        goto out;
    bytes = malloc((size_t)info.st_size + (info.st_size == 0));
    if (!bytes || fread(bytes, 1, (size_t)info.st_size, file) != (size_t)info.st_size)
        goto out;
    LLVMFuzzerTestOneInput(bytes, (size_t)info.st_size);
    *count += 1;
    failed = 0;
out:
    if (failed)
        perror(path);
    free(bytes);
    if (file)
        fclose(file);
    return failed;
}

static int run_directory(const char *path, size_t *count)
{
    int failed = 0;
    DIR *directory = opendir(path);
    if (!directory) {
        perror(path);
        return 1;
    }
    for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
        char name[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        failed |= run_file(name, count);
    }
    closedir(directory);
    return failed;
}

static int run(const char *path, size_t *count)
{
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISDIR(info.st_mode))
        return run_file(path, count);
    return run_directory(path, count);
}

int main(int argc, char **argv)
{
    size_t count = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= run(argv[i], &count);
    if (argc < 2) {
        char path[4096];
        const char *source = getenv("LARDER_SOURCE");
        const char *name = strrchr(argv[0], '/');
        name = name ? name + 1 : argv[0];
        name += strncmp(name, "fuzz_", 5) == 0 ? 5 : 0;
        snprintf(path, sizeof path, "%s/tests/fuzz/corpus/%s", source ? source : ".", name);
        failed = run(path, &count);
    }
    printf("%zu inputs replayed\n", count);
    return failed || count == 0;
}
