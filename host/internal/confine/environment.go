package confine

import (
	"fmt"
	"slices"
	"strings"
)

// Environment is the whole environment of a command: where programs are looked up
// and scratch files go, no settings from anywhere, and more, as NAME=VALUE, which
// an operator chose. It fails where more has a name that changes what a program
// runs or reads ([Forbidden]), or one that is fixed.
func Environment(path []string, scratch string, more []string) ([]string, error) {
	all := []string{
		"PATH=" + strings.Join(path, ":"),
		"TMPDIR=" + scratch, "TEMP=" + scratch, "TMP=" + scratch,
		"HOME=" + Home,
		"XDG_CONFIG_HOME=" + Home, "XDG_DATA_HOME=" + Home, "XDG_CACHE_HOME=" + Home, "XDG_STATE_HOME=" + Home, "XDG_RUNTIME_DIR=" + Home,
		"LANG=C.UTF-8", "TZ=UTC",
		"PYTHONNOUSERSITE=1",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0",
		// A view is made of mounts, at which git would stop looking for a repository.
		"GIT_DISCOVERY_ACROSS_FILESYSTEM=1",
		// Git refuses repositories of other owners, since their settings make it run
		// things. Whatever it runs here is in the same fence, and of all owners the
		// fence knows one.
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		// Its index knows files by owner, too, and it would read all of them again.
		"GIT_CONFIG_KEY_1=core.checkStat", "GIT_CONFIG_VALUE_1=minimal",
	}
	for _, e := range more {
		name, _, ok := strings.Cut(e, "=")
		switch {
		case !ok || !isName(name) || strings.ContainsRune(e, 0):
			return nil, fmt.Errorf("confine: %q is not NAME=VALUE", e)
		case Forbidden(name):
			return nil, fmt.Errorf("confine: no command gets %s: it changes what programs run or read", name)
		case slices.ContainsFunc(all, func(a string) bool { return strings.HasPrefix(a, name+"=") }):
			return nil, fmt.Errorf("confine: %s is fixed, or given twice", name)
		}
		all = append(all, e)
	}
	return all, nil
}

func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// forbiddenPrefixes and forbiddenNames are variables by which loaders, shells,
// interpreters and tools are told to run or read something else.
var (
	forbiddenPrefixes = []string{
		"LD_", "DYLD_", "GIT_", "PYTHON", "PERL5", "BASH_FUNC_", "GLIBC_", "MALLOC_", "NPM_CONFIG_", "XDG_", "GCONV", "_RLD", "LUA_", "JAVA_TOOL_",
	}
	forbiddenNames = []string{
		"NODE_OPTIONS", "NODE_PATH", "PERLLIB", "PERL_UNICODE", "RUBYOPT", "RUBYLIB", "BASH_ENV", "ENV", "IFS", "CDPATH", "SHELLOPTS", "BASHOPTS", "PS4",
		"PROMPT_COMMAND", "GETCONF_DIR", "LOCPATH", "NLSPATH", "HOSTALIASES", "RES_OPTIONS", "LOCALDOMAIN", "TZDIR", "TERMINFO", "TERMINFO_DIRS",
		"EDITOR", "VISUAL", "PAGER", "LESSOPEN", "LESSCLOSE", "MANPAGER", "BROWSER", "SHELL", "MAKEFLAGS", "GNUMAKEFLAGS", "MAKEFILES",
		"GCC_EXEC_PREFIX", "COMPILER_PATH", "CLASSPATH", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "GOFLAGS", "GOENV", "GOROOT", "TAR_OPTIONS", "RSYNC_RSH", "AWKPATH", "AWKLIBPATH",
	}
)

// Forbidden reports whether no command gets a variable of that name, whoever asks
// for it.
func Forbidden(name string) bool {
	upper := strings.ToUpper(name)
	return slices.Contains(forbiddenNames, upper) ||
		slices.ContainsFunc(forbiddenPrefixes, func(p string) bool { return strings.HasPrefix(upper, p) })
}
