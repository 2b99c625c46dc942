package confine

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An architecture is what the filter must know of one.
type architecture struct {
	name string
	// audit is how seccomp names it. A call made through another one's door, as
	// 32-bit code does, ends the process.
	audit uint32
	// foreign is the first number of another interface behind the same door (x32
	// on amd64), 0 if there is none.
	foreign uint32
	number  func(call) int
}

var architectures = []architecture{
	{"amd64", unix.AUDIT_ARCH_X86_64, 0x40000000, func(c call) int { return c.amd64 }},
	{"arm64", unix.AUDIT_ARCH_AARCH64, 0, func(c call) int { return c.arm64 }},
}

// architectureOf finds one by its name in Go.
func architectureOf(name string) (architecture, bool) {
	i := slices.IndexFunc(architectures, func(a architecture) bool { return a.name == name })
	if i < 0 {
		return architecture{}, false
	}
	return architectures[i], true
}

// Operations of classic BPF (linux/bpf_common.h), as far as they are used.
const (
	opLoad = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opAnd  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opEq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opGe   = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	opSet  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	opRet  = unix.BPF_RET | unix.BPF_K
)

// Answers of a filter.
const (
	answerAllow  = unix.SECCOMP_RET_ALLOW
	answerKill   = unix.SECCOMP_RET_KILL_PROCESS
	answerRefuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	answerAbsent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	answerNo     = unix.SECCOMP_RET_ERRNO | uint32(unix.EOPNOTSUPP)
	answerNoTTY  = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOTTY)
)

const (
	// newNamespaces is every CLONE_NEW flag that clone(2) knows. CLONE_NEWTIME is
	// not one: its bit belongs to the exit signal there.
	newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	setIDs    = unix.S_ISUID | unix.S_ISGID
	socketTyp = 0xf // the rest are SOCK_NONBLOCK and SOCK_CLOEXEC
	// creates are the open flags with which a mode counts. O_TMPFILE has
	// O_DIRECTORY's bit, too, which alone creates nothing.
	creates = unix.O_CREAT | (unix.O_TMPFILE &^ unix.O_DIRECTORY)
)

// argument is where the lower half of an argument lies in struct seccomp_data:
// both architectures have the lower half first. What is looked at is 32 bits wide
// to the kernel, but for clone's flags, whose upper half it ignores.
func argument(n int) uint32 { return uint32(16 + 8*n) }

func do(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jump(code uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: code, Jt: yes, Jf: no, K: k}
}

// body is the end of the filter for calls of one ruling. It never falls through.
func (r ruling) body() []unix.SockFilter {
	// unless answers EPERM where the argument has one of the bits.
	unless := func(n int, bits uint32) []unix.SockFilter {
		return []unix.SockFilter{do(opLoad, argument(n)), jump(opSet, bits, 0, 1), do(opRet, answerRefuse), do(opRet, answerAllow)}
	}
	creating := func(flags int) []unix.SockFilter {
		return append([]unix.SockFilter{
			do(opLoad, argument(flags)), jump(opSet, creates, 1, 0), do(opRet, answerAllow),
		}, unless(flags+1, setIDs)...)
	}
	switch r {
	case allow:
		return []unix.SockFilter{do(opRet, answerAllow)}
	case refuse:
		return []unix.SockFilter{do(opRet, answerRefuse)}
	case clone:
		return unless(0, newNamespaces)
	case mode1:
		return unless(1, setIDs)
	case mode2:
		return unless(2, setIDs)
	case open:
		return creating(1)
	case openAt:
		return creating(2)
	case pair:
		// A pair of datagram sockets could still send to any socket that has a name
		// in a folder the command sees.
		return []unix.SockFilter{
			do(opLoad, argument(0)), jump(opEq, unix.AF_UNIX, 1, 0), do(opRet, answerRefuse),
			do(opLoad, argument(1)), do(opAnd, socketTyp),
			jump(opEq, unix.SOCK_STREAM, 2, 0), jump(opEq, unix.SOCK_SEQPACKET, 1, 0),
			do(opRet, answerRefuse), do(opRet, answerAllow),
		}
	case limit1:
		return []unix.SockFilter{
			do(opLoad, argument(0)), jump(opEq, unix.RLIMIT_CORE, 1, 0), jump(opEq, unix.RLIMIT_LOCKS, 0, 1), do(opRet, answerRefuse),
			do(opRet, answerAllow),
		}
	case limit2:
		return []unix.SockFilter{
			do(opLoad, argument(1)), jump(opEq, unix.RLIMIT_CORE, 2, 0), jump(opEq, unix.RLIMIT_LOCKS, 1, 0), do(opRet, answerAllow),
			do(opLoad, argument(2)), jump(opEq, 0, 1, 0), do(opRet, answerRefuse),
			do(opLoad, argument(2)+4), jump(opEq, 0, 1, 0), do(opRet, answerRefuse),
			do(opRet, answerAllow),
		}
	case limitOwn:
		return append([]unix.SockFilter{
			do(opLoad, argument(0)), jump(opEq, 0, 1, 0), do(opRet, answerRefuse),
		}, limit2.body()...)
	case without:
		return []unix.SockFilter{do(opRet, answerNo)}
	case self:
		return []unix.SockFilter{do(opLoad, argument(0)), jump(opEq, 0, 1, 0), do(opRet, answerRefuse), do(opRet, answerAllow)}
	case selves:
		return []unix.SockFilter{
			do(opLoad, argument(0)), jump(opGe, 2, 0, 1), do(opRet, answerRefuse),
			do(opLoad, argument(1)), jump(opEq, 0, 1, 0), do(opRet, answerRefuse), do(opRet, answerAllow),
		}
	case orphan:
		return []unix.SockFilter{do(opLoad, argument(0)), jump(opEq, unix.PR_SET_PDEATHSIG, 0, 1), do(opRet, answerRefuse), do(opRet, answerAllow)}
	case owner:
		return []unix.SockFilter{
			do(opLoad, argument(1)),
			jump(opEq, unix.F_SETOWN, 2, 0), jump(opEq, unix.F_SETOWN_EX, 1, 0), jump(opEq, unix.F_SETSIG, 0, 1),
			do(opRet, answerRefuse), do(opRet, answerAllow),
		}
	case controls:
		body := []unix.SockFilter{do(opLoad, argument(1))}
		for i, c := range harmless {
			body = append(body, jump(opEq, c, uint8(len(harmless)-i), 0))
		}
		return append(body, do(opRet, answerNoTTY), do(opRet, answerAllow))
	case control:
		return []unix.SockFilter{
			do(opLoad, argument(1)),
			jump(opEq, unix.TIOCSTI, 2, 0), jump(opEq, unix.TIOCLINUX, 1, 0), jump(opEq, unix.TIOCSETD, 0, 1),
			do(opRet, answerRefuse), do(opRet, answerAllow),
		}
	}
	return []unix.SockFilter{do(opRet, answerAbsent)}
}

// Requests of ioctl(2) that x/sys has no names for; asm-generic/ioctls.h, as both
// architectures use it.
const (
	fionbio  = 0x5421
	fionclex = 0x5450
	fioclex  = 0x5451
)

// harmless are the requests of ioctl(2) that are allowed where no mount is
// read-only: others change flags, encryption or verity of a file that is open for
// reading, or make a folder, and Landlock knows nothing of them.
var harmless = []uint32{
	unix.TCGETS, unix.TCGETS2, unix.TIOCGWINSZ, unix.TIOCGPGRP, unix.TIOCINQ, fionbio, fioclex, fionclex,
}

// filter is the seccomp program of an architecture. It rules on every number
// there is: the calls of one ruling that follow each other make a range, the gaps
// between them are ranges of absent calls, and the last range has no end.
func (a architecture) filter(rule func(call) ruling) []unix.SockFilter {
	rulings := map[int]ruling{}
	last := 0
	for _, c := range calls {
		if n := a.number(c); n >= 0 {
			rulings[n] = rule(c)
			last = max(last, n)
		}
	}
	program := []unix.SockFilter{
		do(opLoad, 4), jump(opEq, a.audit, 1, 0), do(opRet, answerKill),
		do(opLoad, 0),
	}
	if a.foreign != 0 {
		program = append(program, jump(opGe, a.foreign, 0, 1), do(opRet, answerKill))
	}
	for n := 0; n <= last; {
		end := n + 1
		for end <= last && rulings[end] == rulings[n] {
			end++
		}
		body := rulings[n].body()
		program = append(program, jump(opGe, uint32(end), uint8(len(body)), 0))
		program = append(program, body...)
		n = end
	}
	return append(program, absent.body()...)
}

// install puts the filter over this thread, for good.
func install(program []unix.SockFilter) error {
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&p)))
	if errno != 0 {
		return errno
	}
	return nil
}
