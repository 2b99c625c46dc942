package confine

import (
	"cmp"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/internal/confine/confinetest"
)

// Who an attempt succeeds for without the fence.
const (
	anyone   = "anyone"
	onlyRoot = "root"
)

// escapes are the attempts that must fail. The control of each is that it
// succeeds without the fence for the one that is named; where it is nobody, the
// words say why.
var escapes = []struct{ name, control, want string }{
	{"read beside the grant", anyone, "no such file or directory"},
	{"read through ..", anyone, "no such file or directory"},
	{"read through /proc/1/root", anyone, "no such file or directory"},
	{"read through /proc/self/cwd", anyone, "no such file or directory"},
	{"read through a planted link", anyone, "no such file or directory"},
	{"read an inherited descriptor", anyone, "bad file descriptor"},
	{"read a host process's environment", anyone, "no such file or directory"},
	{"open by handle", onlyRoot, "operation not permitted"},
	{"stat beside the grant", anyone, "no such file or directory"},
	{"list beside the grant", anyone, "file does not exist"},

	{"write what is granted for reading", anyone, "read-only file system"},
	{"truncate what is granted", anyone, "read-only file system"},
	{"remove what is granted", anyone, "read-only file system"},
	{"rename what is granted", anyone, "read-only file system"},
	{"create beside the grant", anyone, "read-only file system"},
	{"create in a granted folder", anyone, "read-only file system"},
	{"set the mode of the program", anyone, "read-only file system"},
	{"link what is granted", anyone, "invalid cross-device link"},
	{"set the mode of what is granted", anyone, "read-only file system"},
	{"set the times of what is granted", anyone, "read-only file system"},
	{"set an attribute of what is granted", anyone, "read-only file system"},
	{"set the times by a descriptor", anyone, "read-only file system"},
	{"set the mode by a descriptor", anyone, "read-only file system"},
	{"set the owner by a descriptor", anyone, "read-only file system"},
	{"set an attribute by a descriptor", anyone, "read-only file system"},
	{"watch beside the grant", anyone, "no such file or directory"},
	{"write settings into HOME", anyone, "read-only file system"},

	{"connect to the host", anyone, "operation not permitted"},
	{"connect to a named socket", anyone, "operation not permitted"},
	{"connect to an abstract socket", anyone, "operation not permitted"},
	{"send from a pair to a named socket", anyone, "operation not permitted"},
	{"write to a named pipe", anyone, "permission denied"},
	{"a UDP socket", anyone, "operation not permitted"},
	{"an IPv6 socket", anyone, "operation not permitted"},
	{"a netlink socket", anyone, "operation not permitted"},
	{"a raw socket", onlyRoot, "operation not permitted"},
	{"a packet socket", onlyRoot, "operation not permitted"},

	{"signal a host process", anyone, "no such process"},
	{"see a host process", anyone, "no such file or directory"},
	{"read the memory of a host process", anyone, "no such file or directory"},
	{"read a host process's arguments", anyone, "no such file or directory"},
	{"limit a host process", anyone, "no such process"},
	{"slow a host process down", anyone, "no such process"},
	{"move a host process", anyone, "no such process"},
	{"be traced", anyone, "operation not permitted"},

	{"a user namespace", anyone, "operation not permitted"},
	{"a mount namespace", anyone, "operation not permitted"},
	{"mount", onlyRoot, "operation not permitted"},
	{"change the root", onlyRoot, "operation not permitted"},
	{"leave a namespace", onlyRoot, "operation not permitted"},
	{"the personality", anyone, "operation not permitted"},
	{"name the host", onlyRoot, "operation not permitted"},
	{"set-uid by chmod", anyone, "operation not permitted"},
	{"set-gid by fchmod", anyone, "operation not permitted"},
	{"set-uid by open", anyone, "operation not permitted"},
	{"set-uid by openat2", anyone, "function not implemented"},
	{"a device node", onlyRoot, "operation not permitted"},
	{"a named pipe", anyone, "operation not permitted"},

	{"set the mode of a device", onlyRoot, "read-only file system"},
	{"hand a core to the machine", anyone, "operation not permitted"},

	{"io_uring", anyone, "function not implemented"},
	{"bpf", onlyRoot, "operation not permitted"},
	{"userfaultfd", anyone, "operation not permitted"},
	{"the keyring", anyone, "operation not permitted"},
	{"a memory file", anyone, "operation not permitted"},
	{"message queues", anyone, "operation not permitted"},
	{"clone3", anyone, "function not implemented"},
	{"the kernel's log", onlyRoot, "operation not permitted"},
	{"kernel settings", anyone, "no such file or directory"},

	{"execute what was written", anyone, "permission denied"},
	{"execute through the loader", anyone, "exit status 127"},
	{"map what was written", anyone, "operation not permitted"},
	{"execute a granted file", anyone, "permission denied"},
}

// stage is what attempts reach for, beside the files of a scene.
func (s *scene) stage(t *testing.T) (vars []string) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	port := tcp.Addr().(*net.TCPAddr).Port
	abstract := fmt.Sprintf("fence-%d", port)
	// The name of a socket must be short.
	docs, err := os.Open(filepath.Join(s.workspace, "docs"))
	if err != nil {
		t.Fatal(err)
	}
	defer docs.Close()
	short := fmt.Sprintf("/proc/self/fd/%d/", docs.Fd())
	for _, x := range []struct{ network, name string }{
		{"unix", "@" + abstract}, {"unix", short + "stream"}, {"unixgram", short + "datagram"},
	} {
		typ := unix.SOCK_STREAM
		if x.network == "unixgram" {
			typ = unix.SOCK_DGRAM
		}
		fd, err := unix.Socket(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: x.name}); err != nil {
			t.Fatal(err)
		}
		if typ == unix.SOCK_STREAM {
			if err := unix.Listen(fd, 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := unix.Mkfifo(short+"pipe", 0o666); err != nil {
		t.Fatal(err)
	}
	reader, err := unix.Open(short+"pipe", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(reader) })
	program, err := os.ReadFile("/usr/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.workspace, "docs/run"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	// Without Linux capabilities, which would keep it from whoever has none.
	victim := exec.CommandContext(t.Context(), thisProgram, attackCommand, "victim")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = victim.Process.Kill(); _ = victim.Wait() })
	for arguments := ""; !strings.HasPrefix(arguments, "secret"); {
		id := strconv.Itoa(victim.Process.Pid)
		data, err := os.ReadFile("/proc/" + id + "/cmdline")
		if err != nil || readProcess(id).state == "Z" {
			t.Fatalf("the victim is gone: %v", err)
		}
		arguments = string(data)
	}
	return []string{
		"FENCE_PORT=" + strconv.Itoa(port), "FENCE_ABSTRACT=" + abstract,
		noSleep,
		"FENCE_PID=" + strconv.Itoa(victim.Process.Pid), "FENCE_HOST=" + s.workspace, "PATH=/usr/bin:/bin",
	}
}

// inherited opens the secret as a host would that forgets to close on exec.
func (s *scene) inherited(t *testing.T) {
	t.Helper()
	fd, err := unix.Open(filepath.Join(s.workspace, "secret"), unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
}

// TestEscapes makes each attempt without the fence and in it. What is tried
// without one changes files, so that each has a scene of its own.
func TestEscapes(t *testing.T) {
	confinetest.Needs(t)
	for i, e := range escapes {
		if testing.Short() && i%8 != 0 {
			continue // each takes the same way through the host
		}
		t.Run(e.name, func(t *testing.T) {
			control := newScene(t)
			vars := control.stage(t)
			control.inherited(t)
			home := filepath.Join(control.dir, "home")
			if err := os.Mkdir(home, 0o755); err != nil {
				t.Fatal(err)
			}
			free := exec.CommandContext(t.Context(), control.program, attackCommand, e.name)
			free.Dir = filepath.Join(control.workspace, "docs")
			free.Env = append(vars, "FENCE_SEEN="+control.workspace, "FENCE_TEMP="+control.scratch, "HOME="+home)
			out, err := free.CombinedOutput()
			if e.control == anyone || e.control == onlyRoot && os.Getuid() == 0 {
				if err != nil {
					t.Errorf("without the fence: %v: %s", err, out)
				}
			} else if err == nil {
				t.Error("without the fence it succeeds")
			}

			for _, tier := range []Tier{Full, Landlock} {
				want, status := e.want+"\n", 1
				if tier == Landlock {
					if lower, ok := inLower[e.name]; ok {
						want = lower + "\n"
					}
					if want == throughLower+"\n" {
						want, status = "", 0
					}
				}
				got := attempt(t, tier, e.name)
				if got.Status != status {
					t.Errorf("%s: status %d, signal %d, want %d: %s", tier, got.Status, got.Signal, status, got.stderr)
				} else if !strings.HasSuffix(got.stderr, want) {
					t.Errorf("%s: stopped by %q, want %q", tier, got.stderr, want)
				}
			}
		})
	}
}

// attempt makes one in a fence, without some of its layers.
func attempt(t *testing.T, tier Tier, name string, without ...string) said {
	t.Helper()
	s := newScene(t)
	vars := s.stage(t)
	s.inherited(t)
	spec, seen, temp, home := s.spec, "/w", "/tmp", Home
	if tier == Landlock {
		// Not the machine's own: with layers left out this is written to.
		spec, seen, temp, home = s.lower(), s.workspace, s.scratch, filepath.Join(s.dir, "home")
		if err := os.Mkdir(home, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	spec.Argv = []string{"attack", attackCommand, name}
	spec.Dir = filepath.Join(seen, "docs")
	spec.Env = append(vars, "FENCE_SEEN="+seen, "FENCE_TEMP="+temp, "HOME="+home)
	for _, w := range without {
		spec.Env = append(spec.Env, "FENCE_WITHOUT_"+w+"=1")
	}
	return run(t, spec, "")
}

// throughLower is what the tier Landlock does not stop.
const throughLower = "not stopped"

// inLower is what stops attempts in the tier Landlock, where that is another error
// than in the tier Full.
var inLower = map[string]string{
	"set the times by a descriptor":       "operation not permitted",
	"set the mode by a descriptor":        "operation not permitted",
	"set the owner by a descriptor":       "operation not permitted",
	"watch beside the grant":              "operation not permitted",
	"limit a host process":                "operation not permitted",
	"slow a host process down":            "operation not permitted",
	"move a host process":                 "operation not permitted",
	"set an attribute by a descriptor":    "operation not supported",
	"read a host process's arguments":     "permission denied",
	"read beside the grant":               "permission denied",
	"read through ..":                     "permission denied",
	"read through /proc/1/root":           "permission denied",
	"read through a planted link":         "permission denied",
	"read a host process's environment":   "permission denied",
	"write what is granted for reading":   "permission denied",
	"truncate what is granted":            "permission denied",
	"remove what is granted":              "permission denied",
	"rename what is granted":              "permission denied",
	"create beside the grant":             "permission denied",
	"create in a granted folder":          "permission denied",
	"set the mode of the program":         "operation not permitted",
	"set the mode of what is granted":     "operation not permitted",
	"set the times of what is granted":    "operation not permitted",
	"set an attribute of what is granted": "operation not supported",
	"write settings into HOME":            "permission denied",
	"signal a host process":               "operation not permitted",
	"read the memory of a host process":   "permission denied",
	"set the mode of a device":            "operation not permitted",
	"kernel settings":                     "permission denied",

	"stat beside the grant":      throughLower,
	"see a host process":         throughLower,
	"execute through the loader": throughLower,
	"map what was written":       throughLower,
}

//go:embed testdata/layers.txt
var layersTable string

// TestLayers makes each attempt with layers of the fence left out, and shows which
// of them stop it, in the tier Full and in the tier Landlock: testdata/layers.txt.
// "namespaces" and "the rest" are all that is there without the two others: the
// view where there is one, closed descriptors, no Linux capabilities.
func TestLayers(t *testing.T) {
	confinetest.Needs(t)
	if testing.Short() {
		t.Skip("short: which layer it is does not matter")
	}
	by := func(tier Tier, name, otherwise string) string {
		stops := func(without ...string) bool { return attempt(t, tier, name, without...).Status == 1 }
		if stops("LANDLOCK", "SECCOMP") {
			return otherwise
		}
		var layers []string
		if stops("SECCOMP") {
			layers = append(layers, "landlock")
		}
		if stops("LANDLOCK") {
			layers = append(layers, "seccomp")
		}
		return cmp.Or(strings.Join(layers, " "), "-")
	}
	var table strings.Builder
	known := strings.Split(layersTable, "\n")
	for i, e := range escapes {
		lower := by(Landlock, e.name, "the rest")
		if f := strings.Fields(known[min(i, len(known)-1)]); lower == "the rest" && os.Getuid() != 0 && len(f) > 0 && f[len(f)-1] != "-" {
			// What only root could do at all an ordinary user's own rights stop.
			lower = strings.TrimSpace(known[i][58:])
		}
		fmt.Fprintf(&table, "%-38s%-20s%s\n", e.name, by(Full, e.name, "namespaces"), lower)
	}
	if got := table.String(); got != layersTable {
		t.Errorf("got:\n%s", got)
	}
}
