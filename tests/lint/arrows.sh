#!/bin/bash
# Who may include whom: the layers, and the libraries that only some files may know.
. "$(dirname "$0")/common.sh"

# layer: the layers that it may include besides itself. `main` is src/ itself.
cat >"$scratch/layers" <<'END'
base:
config: base
http: base
l2: base config
store: base config
cache: base config l2
api: base config http l2 store cache
server: base config http
main: base config http l2 store cache api server
END

# A header of a library, and the beginnings of the paths below src/ that may include it. What is not named here is taken for
# a library that nobody has agreed to.
cat >"$scratch/libraries" <<'END'
xxhash.h base/
sodium.h base/
ini.h config/config
hiredis/ l2/l2_redis l2/l2_nodes
curl/ l2/l2_rest
sqlite3.h store/
zlib.h cache/entry
libdeflate.h cache/entry
json-c/ api/
fcgiapp.h server/gateway
systemd/ server/supervisor
END

libc='assert ctype dirent dlfcn endian errno fcntl fnmatch getopt glob grp ifaddrs inttypes langinfo libgen limits locale
malloc math netdb poll pthread pwd regex sched semaphore setjmp signal spawn stdalign stdarg stdatomic stdbool stddef stdint
stdio stdlib stdnoreturn string strings syslog termios threads time unistd'
libc_folders='arpa linux net netinet sanitizer sys'

check()
{
    c_files src | xargs -r awk -v layers="$scratch/layers" -v libraries="$scratch/libraries" -v libc="$libc" \
        -v libc_folders="$libc_folders" '
        function complain(message) { print FILENAME ":" FNR ": " message }

        function project(name,    other) {
            if (name !~ /\//) {
                if (layer != "main")
                    complain("\"" name "\" is included without its layer")
                return
            }
            other = name
            sub(/\/.*/, "", other)
            if (other != layer && index(arrows[layer], " " other " ") == 0)
                complain(layer " may not include " other)
        }

        function library(name,    key, folder, i, n, places) {
            folder = name
            sub(/\/.*/, "", folder)
            if (name ~ /\// ? folder in plain_folder : name in plain)
                return
            key = name ~ /\// ? folder "/" : name
            if (!(key in allowed)) {
                complain("<" name "> is neither libc nor a library that larder uses")
                return
            }
            n = split(allowed[key], places, " ")
            for (i = 1; i <= n; i++)
                if (index(path, places[i]) == 1)
                    return
            complain("only " allowed[key] "may include <" name ">")
        }

        BEGIN {
            n = split(libc, word)
            for (i = 1; i <= n; i++)
                plain[word[i] ".h"]
            n = split(libc_folders, word)
            for (i = 1; i <= n; i++)
                plain_folder[word[i]]
            while ((getline line < layers) > 0) {
                i = index(line, ":")
                arrows[substr(line, 1, i - 1)] = substr(line, i + 1) " "
            }
            while ((getline line < libraries) > 0) {
                i = index(line, " ")
                allowed[substr(line, 1, i - 1)] = substr(line, i + 1) " "
            }
        }

        FNR == 1 {
            path = FILENAME
            sub(/^src\//, "", path)
            layer = path
            if (!sub(/\/.*/, "", layer))
                layer = "main"
            if (!(layer in arrows))
                complain("src/" layer " is no layer")
        }

        /^[ \t]*#[ \t]*include/ {
            name = $0
            sub(/^[ \t]*#[ \t]*include[ \t]*/, "", name)
            if (match(name, /^"[^"]*"/))
                project(substr(name, 2, RLENGTH - 2))
            else if (match(name, /^<[^>]*>/))
                library(substr(name, 2, RLENGTH - 2))
            else
                complain("an include that cannot be read")
        }'
}

conclude check
