package confine

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
)

// nobody is the ordinary user that tests run as where they are root.
const nobody = 65534

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case Command:
			if len(os.Args) == 2 {
				os.Exit(enter(wanted))
			}
			os.Exit(Child(os.Args[2:]))
		case attackCommand:
			os.Exit(attackMain(os.Args[2:]))
		}
	}
	name, value, _ := strings.Cut(noSleep, "=")
	os.Setenv(name, value)
	os.Exit(m.Run())
}

// wanted are the layers of the fence that a test has not left out.
func wanted(s *Spec) layers {
	return layers{
		landlock: !slices.Contains(s.Env, "FENCE_WITHOUT_LANDLOCK=1"),
		seccomp:  !slices.Contains(s.Env, "FENCE_WITHOUT_SECCOMP=1"),
	}
}

// A scene is a workspace with one granted and one secret file, a scratch folder
// and this program to be run in a fence that shows the first and the second.
type scene struct {
	dir, workspace, scratch, out string
	program                      string // this one
	spec                         Spec
}

// place is a folder outside of what every command sees.
func place(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func newScene(t *testing.T) *scene {
	t.Helper()
	dir := place(t)
	s := &scene{dir: dir, workspace: filepath.Join(dir, "workspace"), scratch: filepath.Join(dir, "scratch"), out: filepath.Join(dir, "out")}
	for _, d := range []string{s.workspace, s.scratch, s.out, filepath.Join(s.workspace, "docs")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"granted": "granted\n", "secret": "secret\n", "docs/a": "a\n"} {
		if err := os.WriteFile(filepath.Join(s.workspace, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.Readlink(thisProgram)
	if err != nil {
		t.Fatal(err)
	}
	s.program = program
	s.spec = Spec{
		Program: "/attack",
		Dir:     "/w",
		Binds: []Bind{
			{Root: filepath.Dir(program), Name: filepath.Base(program), Target: "/attack", Access: Execute},
			{Root: s.workspace, Name: "granted", Target: "/w/granted", Access: Read},
			{Root: s.workspace, Name: "docs", Target: "/w/docs", Access: Read},
			{Root: s.scratch, Name: ".", Target: "/tmp", Access: Scratch},
			{Root: s.out, Name: ".", Target: "/out", Access: Write},
		},
		Env: []string{"PATH=/usr/bin:/bin", "HOME=" + Home, "TMPDIR=/tmp", "LANG=C.UTF-8", "GOMAXPROCS=2", noSleep},
	}
	return s
}

// noSleep has a program that was built with the race detector end at once.
const noSleep = "GORACE=atexit_sleep_ms=0"

// said is what a command wrote, and its result.
type said struct {
	*Result
	stdout, stderr string
}

func run(t *testing.T, s Spec, stdin string) said {
	t.Helper()
	var stdout, stderr bytes.Buffer
	r, err := Run(t.Context(), s, strings.NewReader(stdin), &stdout, &stderr)
	if err != nil {
		explain(t, err)
	}
	return said{r, stdout.String(), stderr.String()}
}

func explain(t *testing.T, err error) {
	t.Helper()
	var missing *MissingError
	if errors.As(err, &missing) {
		t.Fatalf("%v\nremedy: %s", err, missing.Remedy)
	}
	t.Fatal(err)
}

// sh runs a script in the fence of a scene.
func (s *scene) sh(t *testing.T, script string) said {
	t.Helper()
	spec := s.spec
	spec.Program, spec.Argv = "/bin/sh", []string{"sh", "-c", script}
	return run(t, spec, "")
}

func TestRun(t *testing.T) {
	confinetest.Needs(t)
	s := newScene(t)
	for _, tt := range []struct {
		script, stdout, stderr string
		status                 int
	}{
		{"cat granted docs/a", "granted\na\n", "", 0},
		{"pwd; cat", "/w\n", "", 0},
		{"echo made >/tmp/x; cat /tmp/x; echo out >/out/y", "made\n", "", 0},
		{"echo wrong >&2; exit 3", "", "wrong\n", 3},
		{"ls -A / /w /home", "/:\nattack\nbin\ndev\netc\nhome\nlib\nlib64\nout\nproc\nsbin\ntmp\nusr\nw\n\n/home:\n\n/w:\ndocs\ngranted\n", "", 0},
		{"id -u; hostname", "1000\nconfined\n", "", 0},
		// It is process 1: signals from inside that it does not handle are lost on it.
		{"echo $$; kill -9 $$; kill -TERM $$; sh -c 'kill -9 1; kill -TERM $$'; echo $?", "1\n143\n", "Terminated\n", 0},
	} {
		got := s.sh(t, tt.script)
		stdout := strings.ReplaceAll(got.stdout, "lib32\n", "")
		if stdout != tt.stdout || got.stderr != tt.stderr || got.Status != tt.status || got.Stopped != "" {
			t.Errorf("%s: got %q, %q, status %d, stopped %q; want %q, %q, status %d",
				tt.script, got.stdout, got.stderr, got.Status, got.Stopped, tt.stdout, tt.stderr, tt.status)
		}
	}
	for name, want := range map[string]string{"scratch/x": "made\n", "out/y": "out\n"} {
		info, err := os.Lstat(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Getuid() {
			t.Errorf("%s belongs to %d, not to the host's user", name, uid)
		}
		if got, err := os.ReadFile(filepath.Join(s.dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestReport(t *testing.T) {
	confinetest.Needs(t)
	s := newScene(t)
	r := s.sh(t, ":").Report
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if got, want := r.Kernel, unix.ByteSliceToString(name.Release[:]); got != want {
		t.Errorf("kernel: got %q, want %q", got, want)
	}
	if !slices.Equal(r.Namespaces, []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}) {
		t.Errorf("namespaces: %q", r.Namespaces)
	}
	if r.Tier != Full || r.NoNewPrivileges != 1 || r.Seccomp != 2 || r.Capabilities != 0 || r.Landlock < leastLandlock {
		t.Errorf("got %+v", r)
	}
	if r.Processes == "" || r.Memory == "" || r.Limits.Processes <= 0 {
		t.Errorf("got %+v", r)
	}
	if os.Getuid() != 0 && r.Processes == boundPidMax || os.Getuid() == 0 && r.Processes == boundRlimit {
		t.Errorf("processes of user %d are bounded by %s", os.Getuid(), r.Processes)
	}
}

// TestAccess is what can be made in the two kinds of folders that are written.
func TestAccess(t *testing.T) {
	confinetest.Needs(t)
	s := newScene(t)
	for _, tt := range []struct {
		script string
		ok     bool
	}{
		{"ln -s x /tmp/link", true},
		{"ln -s x /out/link", false},
		{"echo >/out/a; ln /out/a /out/b; mv /out/b /out/c; mkdir /out/d; mv /out/c /out/d; rm -r /out/d", true},
		{"echo >/tmp/a; mv /tmp/a /out/moved", true},
		{"mkfifo /tmp/pipe || mkfifo /out/pipe", false},
		{"cp /usr/bin/true /tmp/true; /tmp/true", false},
		{"cp /usr/bin/true /out/true; /out/true", false},
		{"echo 'echo hello' >/tmp/script; sh /tmp/script", true}, // by its interpreter: SECURITY.md
		{"echo >/dev/shm/a", true},
		{"echo >/dev/new", false},
		{"echo >/dev/null", true},
		{"echo >/proc/self/comm", false},
	} {
		if got := s.sh(t, tt.script); (got.Status == 0) != tt.ok {
			t.Errorf("%s: status %d: %s", tt.script, got.Status, got.stderr)
		}
	}
}

// TestAsUser runs the other tests as an ordinary user: it gets the same fence.
func TestAsUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this is an ordinary user")
	}
	if testing.Short() {
		t.Skip("short: the same tests again")
	}
	dir, err := os.MkdirTemp("", "confine-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=^(TestRun|TestReport|TestPosture|TestEscapes|TestLimits|TestLifecycle|TestProbe|TestPrograms|TestTakenAway|TestLayers|TestConcurrent|TestStartErrors|TestSpecs|TestNested|TestAccess|TestOwn|TestLower.*|TestNoNamespaces)$", "-test.timeout=2m"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	// Where go test puts it, this user cannot reach it.
	program := filepath.Join(dir, "tests")
	if err := copyOwn(program); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(program, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=" + dir, "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as user %d: %v\n%s", nobody, err, out)
	} else {
		t.Logf("as user %d:\n%s", nobody, out)
	}
}

// TestPosture is what a command finds itself to be.
func TestPosture(t *testing.T) {
	confinetest.Needs(t)
	// A descriptor that the host forgot to close on exec.
	forgotten, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(forgotten)
	t.Setenv("AGENTHOST_SECRET", "secret")
	s := newScene(t)
	spec := s.spec
	spec.Argv = []string{"attack", attackCommand, "posture"}
	got := run(t, spec, "")
	want := `pid 1
uid 1000 gid 1000
descriptors 0 1 2
environment GOMAXPROCS=2 GORACE=atexit_sleep_ms=0 HOME=/home LANG=C.UTF-8 PATH=/usr/bin:/bin TMPDIR=/tmp
first process's environment GOMAXPROCS=2 GORACE=atexit_sleep_ms=0 HOME=/home LANG=C.UTF-8 PATH=/usr/bin:/bin TMPDIR=/tmp
processes 1
umask 0022
CapInh 0000000000000000
CapPrm 0000000000000000
CapEff 0000000000000000
CapBnd 0000000000000000
CapAmb 0000000000000000
NoNewPrivs 1
Seccomp 2
securebits 0xef
interfaces lo
mount / ro,nosuid,nodev,noexec
mount /attack ro,nosuid,nodev
mount /dev/full ro,nosuid,noexec
mount /dev/null ro,nosuid,noexec
mount /dev/random ro,nosuid,noexec
mount /dev/shm nosuid,nodev,noexec
mount /dev/urandom ro,nosuid,noexec
mount /dev/zero ro,nosuid,noexec
mount /out nosuid,nodev,noexec
mount /proc nosuid,nodev,noexec
mount /tmp nosuid,nodev,noexec
mount /w/docs ro,nosuid,nodev,noexec
mount /w/granted ro,nosuid,nodev,noexec
core 1
data 536870912
files 256
processes 128
`
	if got.stdout != want || got.Status != 0 {
		t.Errorf("got:\n%s%swant:\n%s", got.stdout, got.stderr, want)
	}
}

func TestStartErrors(t *testing.T) {
	confinetest.Needs(t)
	s := newScene(t)
	for program, want := range map[string]string{
		"/w/granted":       "confine: start /w/granted: permission denied",
		"/w/nothing":       "confine: start /w/nothing: no such file or directory",
		"/proc/self/mem":   "confine: start /proc/self/mem: permission denied",
		"/attack/x":        "confine: start /attack/x: not a directory",
		"/usr/bin/../true": `confine: "/usr/bin/../true" is not an absolute path in its shortest form`,
	} {
		spec := s.spec
		spec.Program, spec.Argv = program, []string{"x"}
		_, err := Run(t.Context(), spec, nil, &bytes.Buffer{}, &bytes.Buffer{})
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", program, err, want)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat("/usr/bin/true", &st); err != nil {
		t.Fatal(err)
	}
	spec := s.spec
	spec.Program, spec.Argv, spec.Device, spec.Inode = "/usr/bin/true", []string{"true"}, st.Dev, st.Ino
	if got := run(t, spec, ""); got.Status != 0 {
		t.Errorf("got %+v", got)
	}
	spec.Inode++
	const want = "confine: start /usr/bin/true: it is not the file that was judged any more"
	if _, err := Run(t.Context(), spec, nil, io.Discard, io.Discard); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// TestSpecs is what is not bound, each with what else would be exposed.
func TestSpecs(t *testing.T) {
	confinetest.Needs(t)
	s := newScene(t)
	if err := os.Symlink("secret", filepath.Join(s.workspace, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(s.workspace, filepath.Join(s.dir, "via")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(s.workspace, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	bind := func(b Bind) func(*Spec) { return func(s *Spec) { s.Binds = append(s.Binds, b) } }
	for _, tt := range []struct {
		name   string
		change func(*Spec)
		want   string
	}{
		{
			"a link", bind(Bind{Root: s.workspace, Name: "link", Target: "/w/link", Access: Read}),
			"confine: open what is to be seen as /w/link: too many levels of symbolic links",
		},
		{
			"upwards", bind(Bind{Root: s.workspace, Name: "../out", Target: "/w/out", Access: Read}),
			`confine: bind "../out" of ` + s.workspace + `: not a relative path in its shortest form`,
		},
		{
			"a pipe", bind(Bind{Root: s.workspace, Name: "fifo", Target: "/w/fifo", Access: Read}),
			"confine: fifo of " + s.workspace + " is neither a regular file nor a folder",
		},
		{
			"a file to write", bind(Bind{Root: s.workspace, Name: "secret", Target: "/w/secret", Access: Write}),
			"confine: secret of " + s.workspace + " is a file: what can be written is a folder",
		},
		{
			"another file", bind(Bind{Root: s.workspace, Name: "secret", Target: "/w/secret", Access: Read, Device: 1, Inode: 1}),
			"confine: secret of " + s.workspace + " is not the file that was judged any more",
		},
		{
			"beneath another", bind(Bind{Root: s.workspace, Name: "secret", Target: "/tmp/secret", Access: Read}),
			"confine: the view has /tmp/secret, which is beneath /tmp",
		},
		{
			"beneath the system", bind(Bind{Root: s.workspace, Name: "secret", Target: "/usr/x", Access: Read}),
			"confine: the view has /usr/x, which is beneath /usr",
		},
		{
			"above another", bind(Bind{Root: s.workspace, Name: ".", Target: "/w", Access: Read}),
			"confine: the view has /w/docs, which is beneath /w",
		},
		{
			"twice", bind(Bind{Root: s.workspace, Name: "secret", Target: "/w/granted", Access: Read}),
			"confine: the view has /w/granted twice",
		},
		{
			"the processes", bind(Bind{Root: "/proc", Name: ".", Target: "/proc", Access: Read}),
			"confine: the view has /proc twice",
		},
		{
			"another file system beneath", bind(Bind{Root: "/", Name: ".", Target: "/host", Access: Read}),
			"confine: what is to be seen as /host has another file system mounted beneath it",
		},
		{
			"access", bind(Bind{Root: s.workspace, Name: "secret", Target: "/w/secret", Access: "all"}),
			`confine: bind to /w/secret with access "all"`,
		},
		{
			"hidden in the system", func(s *Spec) { s.Hidden = []string{"/usr/bin"} },
			"confine: /usr/bin lies in /usr, which every command sees: move it elsewhere",
		},
		{
			"settings", func(s *Spec) { s.Etc = []string{"/root"} },
			`confine: "/root" is not a path beneath /etc in its shortest form`,
		},
	} {
		spec := s.spec
		spec.Binds = slices.Clone(spec.Binds)
		spec.Argv = []string{"attack"}
		tt.change(&spec)
		_, err := Run(t.Context(), spec, nil, &bytes.Buffer{}, &bytes.Buffer{})
		switch {
		case err == nil:
			t.Errorf("%s: ran", tt.name)
		case !strings.HasPrefix(err.Error(), "confine: ") || err.Error() != tt.want:
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
	// Links in the folder's own path are the operator's.
	spec := s.spec
	spec.Binds = append(slices.Clone(spec.Binds), Bind{Root: filepath.Join(s.dir, "via"), Name: "secret", Target: "/w/secret", Access: Read})
	spec.Program, spec.Argv = "/bin/cat", []string{"cat", "/w/secret"}
	if got := run(t, spec, ""); got.stdout != "secret\n" {
		t.Errorf("through a link of the operator's: got %q, %q", got.stdout, got.stderr)
	}
}
