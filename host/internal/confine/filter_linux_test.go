package confine

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// numbersOf reads the numbers of an architecture's system calls out of x/sys,
// which has them from the kernel's own tables.
func numbersOf(t *testing.T, arch string) map[string]int {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "golang.org/x/sys/unix").Output()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(string(bytes.TrimSpace(dir)), "zsysnum_linux_"+arch+".go"))
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]int{}
	for _, m := range regexp.MustCompile(`\tSYS_([A-Z0-9_]+)\s*=\s*(\d+)`).FindAllStringSubmatch(string(data), -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		numbers[strings.ToLower(m[1])] = n
	}
	// Where calls of one architecture only begin: not a call.
	delete(numbers, "arch_specific_syscall")
	return numbers
}

// TestCalls compares the table with every number in x/sys, on both architectures:
// a call that a new version of x/sys has must be reviewed.
func TestCalls(t *testing.T) {
	for _, a := range architectures {
		want := numbersOf(t, a.name)
		if len(want) < 300 {
			t.Fatalf("%s: %d system calls in x/sys", a.name, len(want))
		}
		for _, c := range calls {
			n, ok := want[c.name]
			if !ok {
				n = -1
			}
			if got := a.number(c); got != n {
				t.Errorf("%s: %s is %d, in x/sys %d", a.name, c.name, got, n)
			}
			delete(want, c.name)
		}
		for name, n := range want {
			t.Errorf("%s: %s (%d) was not reviewed", a.name, name, n)
		}
	}
}

// A request is struct seccomp_data, as 32-bit words.
type request [16]uint32

func requestOf(audit uint32, number int, args ...uint64) request {
	r := request{uint32(number), audit}
	for i, a := range args {
		r[4+2*i], r[5+2*i] = uint32(a), uint32(a>>32)
	}
	return r
}

// answer runs a filter as the kernel does.
func answer(t *testing.T, program []unix.SockFilter, r request) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(program); pc++ {
		ins := program[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(ins.Jt)
			} else {
				pc += int(ins.Jf)
			}
		}
		switch ins.Code {
		case opLoad:
			a = r[ins.K/4]
		case opAnd:
			a &= ins.K
		case opEq:
			jump(a == ins.K)
		case opGe:
			jump(a >= ins.K)
		case opSet:
			jump(a&ins.K != 0)
		case opRet:
			return ins.K
		default:
			t.Fatalf("instruction %d is %#x", pc, ins.Code)
		}
	}
	t.Fatal("the program has no end")
	return 0
}

// TestFilter asks the filter about every number there could be.
func TestFilter(t *testing.T) {
	plain := map[ruling]uint32{allow: answerAllow, refuse: answerRefuse, absent: answerAbsent}
	for _, a := range architectures {
		program := a.filter(inFull)
		if len(program) > 4096 {
			t.Errorf("%s: %d instructions, more than the kernel takes", a.name, len(program))
		}
		rulings := map[int]ruling{}
		for _, c := range calls {
			if n := a.number(c); n >= 0 {
				rulings[n] = c.ruling
			}
		}
		for n := range 2000 {
			want, ok := plain[rulings[n]]
			if !ok {
				continue // by its arguments: below
			}
			if got := answer(t, program, requestOf(a.audit, n)); got != want {
				t.Errorf("%s: call %d: got %#x, want %#x", a.name, n, got, want)
			}
		}
		for _, n := range []int{1 << 20, 1<<30 - 1, 1<<31 - 1} {
			want := uint32(answerAbsent)
			if a.foreign != 0 && n >= 1<<30 {
				want = answerKill
			}
			if got := answer(t, program, requestOf(a.audit, n)); got != want {
				t.Errorf("%s: call %d: got %#x, want %#x", a.name, n, got, want)
			}
		}
		// The same call through the doors of others: 32-bit ones, and of the other.
		for _, audit := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, architectures[0].audit, architectures[1].audit, 0} {
			if audit == a.audit {
				continue
			}
			if got := answer(t, program, requestOf(audit, 1)); got != answerKill {
				t.Errorf("%s: through %#x: got %#x", a.name, audit, got)
			}
		}
	}
	x32 := architectures[0]
	if got := answer(t, x32.filter(inFull), requestOf(x32.audit, 0x40000000|39)); got != answerKill {
		t.Errorf("x32: got %#x", got)
	}
}

func TestFilterArguments(t *testing.T) {
	for _, tt := range []struct {
		call string
		args []uint64
		want uint32
	}{
		{"clone", []uint64{uint64(unix.SIGCHLD)}, answerAllow},
		{"clone", []uint64{unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM | unix.CLONE_SETTLS}, answerAllow},
		{"clone", []uint64{unix.CLONE_NEWUSER}, answerRefuse},
		{"clone", []uint64{unix.CLONE_NEWNS | uint64(unix.SIGCHLD)}, answerRefuse},
		{"clone", []uint64{unix.CLONE_NEWPID}, answerRefuse},
		{"clone", []uint64{unix.CLONE_NEWNET}, answerRefuse},
		{"clone", []uint64{unix.CLONE_NEWIPC}, answerRefuse},
		{"clone", []uint64{unix.CLONE_NEWUTS}, answerRefuse},
		{"clone", []uint64{unix.CLONE_NEWCGROUP}, answerRefuse},
		{"socketpair", []uint64{unix.AF_UNIX, unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK, 0}, answerAllow},
		{"socketpair", []uint64{unix.AF_UNIX, unix.SOCK_SEQPACKET, 0}, answerAllow},
		{"socketpair", []uint64{unix.AF_UNIX, unix.SOCK_DGRAM, 0}, answerRefuse},
		{"socketpair", []uint64{unix.AF_UNIX, unix.SOCK_RAW, 0}, answerRefuse},
		{"socketpair", []uint64{unix.AF_TIPC, unix.SOCK_STREAM, 0}, answerRefuse},
		{"socketpair", []uint64{unix.AF_UNIX | 1<<32, unix.SOCK_DGRAM | 1<<32, 0}, answerRefuse},
		{"setrlimit", []uint64{unix.RLIMIT_NOFILE, 1}, answerAllow},
		{"setrlimit", []uint64{unix.RLIMIT_CORE, 1}, answerRefuse},
		{"prlimit64", []uint64{0, unix.RLIMIT_NOFILE, 1, 0}, answerAllow},
		{"prlimit64", []uint64{0, unix.RLIMIT_CORE, 0, 1}, answerAllow},
		{"prlimit64", []uint64{0, unix.RLIMIT_CORE, 0x1000, 0}, answerRefuse},
		{"prlimit64", []uint64{0, unix.RLIMIT_CORE, 1 << 40, 0}, answerRefuse},
		{"ioctl", []uint64{0, unix.TCGETS}, answerAllow},
		{"ioctl", []uint64{0, unix.TIOCSTI}, answerRefuse},
		{"ioctl", []uint64{0, unix.TIOCSTI | 1<<32}, answerRefuse}, // CVE-2019-10063
		{"ioctl", []uint64{0, unix.TIOCLINUX}, answerRefuse},
		{"ioctl", []uint64{0, unix.TIOCSETD}, answerRefuse},
		{"chmod", []uint64{0, 0o755}, answerAllow},
		{"chmod", []uint64{0, 0o4755}, answerRefuse},
		{"chmod", []uint64{0, 0o2755}, answerRefuse},
		{"chmod", []uint64{0, 0o1777}, answerAllow},
		{"fchmod", []uint64{0, 0o4755}, answerRefuse},
		{"fchmodat", []uint64{0, 0, 0o6755}, answerRefuse},
		{"fchmodat", []uint64{0o4755, 0o4755, 0o755}, answerAllow},
		{"fchmodat2", []uint64{0, 0, 0o2755, 0}, answerRefuse},
		{"creat", []uint64{0, 0o4755}, answerRefuse},
		{"open", []uint64{0, unix.O_RDONLY, 0o4755}, answerAllow},
		{"open", []uint64{0, unix.O_RDONLY | unix.O_DIRECTORY, 0o4755}, answerAllow},
		{"open", []uint64{0, unix.O_CREAT | unix.O_WRONLY, 0o644}, answerAllow},
		{"open", []uint64{0, unix.O_CREAT | unix.O_WRONLY, 0o4755}, answerRefuse},
		{"openat", []uint64{0, 0, unix.O_CREAT | unix.O_WRONLY, 0o644}, answerAllow},
		{"openat", []uint64{0, 0, unix.O_CREAT | unix.O_WRONLY, 0o2755}, answerRefuse},
		{"openat", []uint64{0, 0, unix.O_TMPFILE | unix.O_WRONLY, 0o4755}, answerRefuse},
	} {
		for _, a := range architectures {
			n := -1
			for _, c := range calls {
				if c.name == tt.call {
					n = a.number(c)
				}
			}
			if n < 0 {
				continue // arm64 has no open, chmod, creat
			}
			if got := answer(t, a.filter(inFull), requestOf(a.audit, n, tt.args...)); got != tt.want {
				t.Errorf("%s: %s%x: got %#x, want %#x", a.name, tt.call, tt.args, got, tt.want)
			}
		}
	}
}
