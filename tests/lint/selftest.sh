#!/bin/bash
# Proves that each rule can fail: a small clean tree passes, and each violation put into it is caught.
. "$(dirname "$0")/common.sh"

lint=$(cd "$OLDPWD" && cd "$(dirname "$0")" && pwd)
tree=$scratch/tree
failed=0

write()
{
    mkdir -p "$(dirname "$tree/$1")"
    printf '%b' "$2" >"$tree/$1"
}

# A program of two modules that breaks no rule.
clean()
{
    rm -rf "$tree"
    write src/base/shelf.h '#ifndef LARDER_SHELF_H\n#define LARDER_SHELF_H\n\nenum { SHELF_MAX = 4 };
typedef int shelf_visit_fn(int jar);\n\nint shelf_count(void);\n\n#endif\n'
    write src/base/shelf.c '#include "base/shelf.h"\n\n#include <stdlib.h>\n\nstatic const int jars[] = {1, 2};\n
static int count(void)\n{\n    return jars[0];\n}\n\nint shelf_count(void)\n{\n    return count();\n}\n'
    write src/main.c '#include "base/shelf.h"\n\nint main(void)\n{\n    return shelf_count();\n}\n'
    write README.md 'A shelf.\n'
}

# SCRIPT must complain of what is put into FILE with a line that matches PATTERN; --append adds to what is there.
catches()
{
    local script=$1 pattern=$2 file=$3 text=$4 output status

    clean
    if [ "${5:-}" = --append ]; then
        text=$(cat "$tree/$file"; printf '%b.' "$text")
        printf '%s' "${text%.}" >"$tree/$file"
    else
        write "$file" "$text"
    fi
    output=$("$BASH" "$lint/$script" "$tree")
    status=$?
    if [ $status -eq 77 ]; then
        echo "$script: $output"
    elif [ $status -eq 0 ] || ! grep -qE "^$file:[0-9]+: .*$pattern" <<<"$output"; then
        echo "$script does not catch: $pattern in $file: $output"
        failed=1
    fi
}

passes()
{
    local output status

    clean
    output=$("$BASH" "$lint/$1" "$tree")
    status=$?
    [ $status -eq 0 ] || [ $status -eq 77 ] && return
    echo "$1 complains of a clean tree: $output"
    failed=1
}

lines()
{
    awk -v n="$1" -v text="$2" 'BEGIN { while (n-- > 0) printf "%s\\n", text }'
}

for script in arrows.sh size.sh names.sh headers.sh words.sh manual.sh events.sh; do
    passes $script
done

catches arrows.sh 'base may not include config' src/base/jar.h '#include "config/config.h"\n'
catches arrows.sh 'http may not include config' src/http/jar.c '#include "config/config.h"\n'
catches arrows.sh 'store may not include cache' src/store/jar.c '#include "base/shelf.h"\n#include "cache/cache.h"\n'
catches arrows.sh 'cache may not include store' src/cache/jar.c '#include "store/store.h"\n'
catches arrows.sh 'server may not include api' src/server/jar.c '  #  include "api/app.h"\n'
catches arrows.sh 'without its layer' src/base/jar.c '#include "shelf.h"\n'
catches arrows.sh 'is no layer' src/cellar/jar.c '\n'
catches arrows.sh 'only l2/l2_redis l2/l2_nodes may include <hiredis/async.h>' src/l2/l2.c '#include <hiredis/async.h>\n'
catches arrows.sh 'only api/ may include' src/cache/jar.c '#include <json-c/json.h>\n'
catches arrows.sh 'only store/ may include' src/api/jar.c '#include <sqlite3.h>\n'
catches arrows.sh 'only server/gateway may include' src/server/worker.c '#include <fcgiapp.h>\n'
catches arrows.sh 'neither libc nor a library' src/base/jar.c '#include <glib.h>\n'
catches arrows.sh 'neither libc nor a library' src/main.c '#include <event2/event.h>\n'
catches arrows.sh 'cannot be read' src/base/jar.c '#include JAR\n'

catches size.sh '601 lines, where 600' src/base/jar.c "$(lines 601 '')"
catches size.sh '151 lines, where 150' src/base/jar.h "$(lines 151 '')"
catches size.sh '601 lines, where 600' tests/unit/test_jar.c "$(lines 601 '')"
catches size.sh '601 lines, where 600' scripts/jar "$(lines 601 '')"
catches size.sh 'jar_fill has 61 lines' src/base/jar.c "void jar_fill(int n)\n{\n$(lines 58 '    n++;')}\n"

catches names.sh 'pour is exported without the prefix jar_' src/base/jar.c 'int pour(void)\n{\n    return 1;\n}\n'
catches names.sh 'label is exported without the prefix jar_' src/base/jar.c 'const int label = 1;\n'
catches names.sh 'pour is exported without the prefix shelf_' src/base/shelf.h 'int pour(int n);\n' --append
catches names.sh 'pour is exported without' src/base/jar.h 'static inline int pour(void)\n{\n    return 1;\n}\n'
catches names.sh 'main is exported without' src/base/jar.c 'int main(void)\n{\n    return 1;\n}\n'
catches names.sh 'jar_fill is static' src/base/jar.c 'static int jar_fill(void)\n{\n    return 1;\n}\n'
catches names.sh 'a typedef for a struct' src/base/jar.c 'typedef struct jar jar_fn;\n'
catches names.sh 'only function types' src/base/jar.c 'typedef struct {\n    int n;\n} jar;\n'
catches names.sh 'only function types' src/base/jar.h 'typedef int jar_visit(int n);\n'
catches names.sh 'FULL is a constant without the prefix JAR_' src/base/jar.h 'enum jar { FULL };\n'
catches names.sh 'level can change' src/base/jar.c 'static int level;\n\nint jar_fill(void)\n{\n    return level++;\n}\n'
catches names.sh 'level can change' src/base/jar.c 'int jar_fill(void)\n{\n    static int level = 3;\n\n    return level++;\n}\n'
catches names.sh 'text can change' src/base/jar.c 'static const char *text = "";\n\nconst char *jar_text(void)\n{\n    return text;\n}\n'
catches names.sh 'level can change' src/base/jar.c 'static _Thread_local int level;\n\nint jar_fill(void)\n{\n    return level++;\n}\n'
catches names.sh 'does not compile' src/base/jar.c 'int jar_fill(\n'

catches headers.sh 'does not compile alone' src/base/jar.h '#ifndef LARDER_JAR_H\n#define LARDER_JAR_H\n\nsize_t jar_fill(void);\n\n#endif\n'
catches headers.sh 'does not compile alone' src/base/jar.h 'struct jar {\n    int n;\n};\n'
catches headers.sh 'is not guarded by LARDER_JAR_H' src/base/jar.h '#ifndef JAR_H\n#define JAR_H\n\n#endif\n'
catches headers.sh 'is not its own header' src/base/shelf.c '#include <stdlib.h>\n#include "base/shelf.h"\n'
catches headers.sh 'is not its own header' src/base/shelf_top.c '#include <stdlib.h>\n'
catches headers.sh 'does not include its own' src/base/shelf.c 'int shelf_count(void);\n'

for word in TO.DO FIX.ME XX.X HA.CK; do
    catches words.sh 'promise to finish' src/base/jar.c "/* ${word/./}: later */\n"
done
catches words.sh 'ends in a blank' README.md 'A jar. \n'
catches words.sh 'ends in a blank' sql/jar.sql 'SELECT 1;\t\n'
catches words.sh 'holds a tab' src/base/jar.c 'int\tjar;\n'
catches words.sh 'path of one machine' scripts/jar 'cd /ho''me/somebody/larder\n'
catches words.sh 'larger than 1 MiB' sql/jar.sql "$(lines 1048577 '')"

catches manual.sh 'no document body' man/jar.5 '.Dd November 1, 2026\n.Dt JAR 5\n.Os\n'
catches manual.sh 'whitespace at end' man/jar.5 '.Dd November 1, 2026\n.Dt JAR 5\n.Os\n.Sh NAME\n.Nm jar\n.Nd a jar\n.Sh DESCRIPTION\nA jar. \n'
catches manual.sh 'does not describe lid' src/config/catalog_draft.c 'static const char *const word_names[1] = {\n    "lid"};\n'
catches manual.sh 'holds no words' src/config/catalog_draft.c 'static const char *const names[1] = {"lid"};\n'

catches events.sh 'does not describe the event jar_lost' src/api/jar.c 'void jar(void)\n{\n    log_event(LOG_LEVEL_ERROR,\n        "jar_lost", LOG_INT("n", 1));\n}\n'
catches events.sh 'does not describe the event jar_kept' src/api/jar.c 'void jar(int n)\n{\n    app_note(it(n), n ? "jar_lost" : "jar_kept", STR("why"));\n}\n'
catches events.sh 'does not describe the event jar_slow' src/api/jar.c 'const char *event = "jar_slow";\n'
catches events.sh 'cannot be read' src/api/jar.c 'void jar(const char *what)\n{\n    log_event(LOG_LEVEL_ERROR, what);\n}\n'
catches events.sh 'nothing says jar_lost' docs/logging.md '| `jar_lost` | error | it is gone |\n'

exit $failed
