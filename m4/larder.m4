# LARDER_COMPILER_FLAG(VARIABLE, FLAG)
# Appends FLAG to VARIABLE when the compiler takes it without complaint.
AC_DEFUN([LARDER_COMPILER_FLAG], [
    AS_VAR_PUSHDEF([larder_cached], [larder_cv_compiler_flag_$2])
    AC_CACHE_CHECK([whether $CC accepts $2], [larder_cached], [
        larder_saved=$CFLAGS
        CFLAGS="$CFLAGS -Werror $2"
        AC_COMPILE_IFELSE([AC_LANG_PROGRAM()], [AS_VAR_SET([larder_cached], [yes])], [AS_VAR_SET([larder_cached], [no])])
        CFLAGS=$larder_saved
    ])
    AS_VAR_IF([larder_cached], [yes], [$1="$$1 $2"])
    AS_VAR_POPDEF([larder_cached])
])

# LARDER_LINKER_FLAG(VARIABLE, FLAG)
# Appends FLAG to VARIABLE when a program can be linked with it.
AC_DEFUN([LARDER_LINKER_FLAG], [
    AS_VAR_PUSHDEF([larder_cached], [larder_cv_linker_flag_$2])
    AC_CACHE_CHECK([whether $CC links with $2], [larder_cached], [
        larder_saved=$LDFLAGS
        LDFLAGS="$LDFLAGS -Werror $2"
        AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AS_VAR_SET([larder_cached], [yes])], [AS_VAR_SET([larder_cached], [no])])
        LDFLAGS=$larder_saved
    ])
    AS_VAR_IF([larder_cached], [yes], [$1="$$1 $2"])
    AS_VAR_POPDEF([larder_cached])
])

# LARDER_MISSING(LIBRARY, DEBIAN-PACKAGE)
# Remembers what LARDER_REPORT_MISSING names in one message.
AC_DEFUN([LARDER_MISSING], [
    larder_missing_text="$larder_missing_text
    $1 (Debian package $2)"
    larder_missing_packages="$larder_missing_packages $2"
])

# LARDER_LIBRARY(PREFIX, MODULE, DEBIAN-PACKAGE)
# Finds a library by pkg-config, into PREFIX_CFLAGS and PREFIX_LIBS.
AC_DEFUN([LARDER_LIBRARY], [
    PKG_CHECK_MODULES([$1], [$2], [], [LARDER_MISSING([$2], [$3])])
])

# LARDER_REPORT_MISSING
# Ends configure when anything is missing, with all of it named.
AC_DEFUN([LARDER_REPORT_MISSING], [
    AS_IF([test -n "$larder_missing_packages"], [
        AC_MSG_ERROR([these libraries are missing:$larder_missing_text
On Debian:
    apt-get install$larder_missing_packages])
    ])
])
