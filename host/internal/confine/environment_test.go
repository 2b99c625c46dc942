package confine

import (
	"slices"
	"strings"
	"testing"
)

func TestEnvironment(t *testing.T) {
	got, err := Environment([]string{"/usr/bin", "/bin"}, "/tmp", []string{"COLUMNS=80"})
	const want = "PATH=/usr/bin:/bin TMPDIR=/tmp TEMP=/tmp TMP=/tmp HOME=/home " +
		"XDG_CONFIG_HOME=/home XDG_DATA_HOME=/home XDG_CACHE_HOME=/home XDG_STATE_HOME=/home XDG_RUNTIME_DIR=/home " +
		"LANG=C.UTF-8 TZ=UTC PYTHONNOUSERSITE=1 GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_OPTIONAL_LOCKS=0 GIT_TERMINAL_PROMPT=0 " +
		"GIT_DISCOVERY_ACROSS_FILESYSTEM=1 GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=* GIT_CONFIG_KEY_1=core.checkStat GIT_CONFIG_VALUE_1=minimal COLUMNS=80"
	if err != nil || strings.Join(got, " ") != want {
		t.Errorf("got %q, %v", got, err)
	}
	for _, e := range []string{
		"LD_PRELOAD=x", "LD_LIBRARY_PATH=x", "ld_preload=x", "DYLD_INSERT_LIBRARIES=x", "GIT_DIR=x", "GIT_SSH_COMMAND=x", "PYTHONPATH=x", "PYTHONSTARTUP=x",
		"NODE_OPTIONS=x", "PERL5OPT=x", "PERL5LIB=x", "RUBYOPT=x", "BASH_ENV=x", "ENV=x", "IFS=x", "BASH_FUNC_ls%%=x", "GCONV_PATH=x", "LOCPATH=x", "PAGER=x",
		"PATH=x", "HOME=x", "TZ=x", "TMPDIR=x", "XDG_CONFIG_DIRS=x", "", "=x", "NAME", "A B=x", "1=x", "A=\x00", "COLUMNS=80\x00LD_PRELOAD=x",
	} {
		if got, err := Environment(nil, "/tmp", []string{e}); err == nil {
			t.Errorf("%q: got %q", e, got)
		}
	}
	if _, err := Environment(nil, "/tmp", []string{"A=1", "A=2"}); err == nil || slices.Contains(forbiddenNames, "A") {
		t.Errorf("twice: got %v", err)
	}
}
