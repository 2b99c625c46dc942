package confine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attackCommand is the first argument of this program where it is the one to be
// confined.
const attackCommand = "__attack"

// stoppedBy is an attempt that failed.
func stoppedBy(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("stopped: %w", err)
}

func env(name string) string { return os.Getenv("FENCE_" + name) }

// readAny succeeds if one of the files has the secret.
func readAny(names ...string) error {
	var all error
	for _, n := range names {
		data, err := os.ReadFile(n)
		if err == nil && bytes.Contains(data, []byte("secret")) {
			return nil
		}
		all = errors.Join(all, err)
	}
	return stoppedBy(cmpErr(all, "nothing secret in it"))
}

func cmpErr(err error, otherwise string) error {
	if err == nil {
		return errors.New(otherwise)
	}
	return err
}

// seen is where the workspace is to the command; unconfined it is the host's.
func seen(name string) string { return filepath.Join(env("SEEN"), name) }
func temp(name string) string { return filepath.Join(env("TEMP"), name) }
func host(name string) string { return filepath.Join(env("HOST"), name) }

func raw(number uintptr, a ...uintptr) error {
	a = append(a, make([]uintptr, 6)...)
	if _, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return stoppedBy(errno)
	}
	return nil
}

func socketOf(family, typ, protocol int) func() error {
	return func() error {
		fd, err := unix.Socket(family, typ, protocol)
		if err == nil {
			unix.Close(fd)
		}
		return stoppedBy(err)
	}
}

func startWith(flags uintptr) func() error {
	return func() error {
		cmd := exec.Command("/usr/bin/true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		return stoppedBy(cmd.Run())
	}
}

// copyProgram puts a copy of a program where a command can write.
func copyProgram(from string, mode os.FileMode) (string, error) {
	data, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	to := temp("program")
	return to, os.WriteFile(to, data, mode)
}

// attempts are what a hostile command tries, by name.
var attempts = map[string]func() error{
	"read beside the grant":       func() error { return readAny(seen("secret"), host("secret")) },
	"read through ..":             func() error { return readAny(seen("docs/../../secret"), seen("docs/../secret"), "/../"+host("secret")) },
	"read through /proc/1/root":   func() error { return readAny("/proc/1/root"+host("secret"), "/proc/self/root"+host("secret")) },
	"read through /proc/self/cwd": func() error { return readAny("/proc/self/cwd/../secret", "/proc/self/cwd/secret") },
	"read through a planted link": func() error {
		if err := os.Symlink(host("secret"), temp("link")); err != nil {
			return stoppedBy(err)
		}
		return readAny(temp("link"))
	},
	"read an inherited descriptor": func() error {
		data := make([]byte, 100)
		for fd := 3; fd < 64; fd++ {
			if n, err := unix.Pread(fd, data, 0); err == nil && bytes.Contains(data[:n], []byte("secret")) {
				return nil
			}
		}
		return stoppedBy(unix.EBADF)
	},
	"read a host process's environment": func() error { return readAny("/proc/" + env("PID") + "/environ") },
	"open by handle": func() error {
		handle, mount, err := unix.NameToHandleAt(unix.AT_FDCWD, seen("granted"), 0)
		_ = mount
		if err != nil {
			return stoppedBy(err)
		}
		dir, err := unix.Open(seen("docs"), unix.O_RDONLY, 0)
		if err != nil {
			return stoppedBy(err)
		}
		fd, err := unix.OpenByHandleAt(dir, handle, unix.O_RDONLY)
		if err == nil {
			unix.Close(fd)
		}
		return stoppedBy(err)
	},
	"stat beside the grant": func() error {
		_, err1 := os.Lstat(seen("secret"))
		_, err2 := os.Lstat(host("secret"))
		if err1 != nil && err2 != nil {
			return stoppedBy(err1)
		}
		return nil
	},
	"list beside the grant": func() error {
		for _, dir := range []string{env("SEEN"), env("HOST"), env("SEEN") + "/.."} {
			if names, err := os.ReadDir(dir); err == nil && slices.ContainsFunc(names, func(d os.DirEntry) bool { return d.Name() == "secret" }) {
				return nil
			}
		}
		return stoppedBy(os.ErrNotExist)
	},

	"write what is granted for reading": func() error { return stoppedBy(os.WriteFile(seen("granted"), []byte("changed"), 0o644)) },
	"truncate what is granted":          func() error { return stoppedBy(os.Truncate(seen("granted"), 0)) },
	"remove what is granted":            func() error { return stoppedBy(os.Remove(seen("granted"))) },
	"rename what is granted":            func() error { return stoppedBy(os.Rename(seen("docs/a"), seen("docs/b"))) },
	"create beside the grant":           func() error { return stoppedBy(os.WriteFile(seen("new"), nil, 0o644)) },
	"create in a granted folder":        func() error { return stoppedBy(os.WriteFile(seen("docs/new"), nil, 0o644)) },
	"set the mode of the program":       func() error { return stoppedBy(os.Chmod("/proc/self/exe", 0o755)) },
	"link what is granted":              func() error { return stoppedBy(os.Link(seen("granted"), temp("linked"))) },
	"set the mode of what is granted":   func() error { return stoppedBy(os.Chmod(seen("granted"), 0o600)) },
	"set the times of what is granted":  func() error { return stoppedBy(os.Chtimes(seen("granted"), time.Unix(1, 0), time.Unix(1, 0))) },
	"set an attribute of what is granted": func() error {
		return stoppedBy(unix.Setxattr(seen("granted"), "user.mark", []byte("x"), 0))
	},
	"set the times by a descriptor": func() error {
		return stoppedBy(opened(seen("granted"), func(fd int) error { return raw(unix.SYS_UTIMENSAT, uintptr(fd), 0, 0, 0) }))
	},
	"set the mode by a descriptor": func() error {
		return stoppedBy(opened(seen("granted"), func(fd int) error { return unix.Fchmod(fd, 0o600) }))
	},
	"set the owner by a descriptor": func() error {
		return stoppedBy(opened(seen("granted"), func(fd int) error { return unix.Fchown(fd, os.Getuid(), os.Getgid()) }))
	},
	"set an attribute by a descriptor": func() error {
		return stoppedBy(opened(seen("granted"), func(fd int) error { return unix.Fsetxattr(fd, "user.mark", []byte("x"), 0) }))
	},
	"watch beside the grant": func() error {
		fd, err := unix.InotifyInit()
		if err != nil {
			return err
		}
		_, err = unix.InotifyAddWatch(fd, env("HOST"), unix.IN_ALL_EVENTS)
		return stoppedBy(err)
	},
	"write settings into HOME": func() error {
		return stoppedBy(os.WriteFile(filepath.Join(os.Getenv("HOME"), ".gitconfig"), nil, 0o644))
	},

	"connect to the host": func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return stoppedBy(err)
		}
		port, _ := strconv.Atoi(env("PORT"))
		return stoppedBy(unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	},
	"connect to a named socket": func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return stoppedBy(err)
		}
		return stoppedBy(unix.Connect(fd, &unix.SockaddrUnix{Name: "stream"}))
	},
	"connect to an abstract socket": func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return stoppedBy(err)
		}
		return stoppedBy(unix.Connect(fd, &unix.SockaddrUnix{Name: "@" + env("ABSTRACT")}))
	},
	"send from a pair to a named socket": func() error {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return stoppedBy(err)
		}
		return stoppedBy(unix.Sendto(fds[0], []byte("x"), 0, &unix.SockaddrUnix{Name: "datagram"}))
	},
	"write to a named pipe": func() error {
		fd, err := unix.Open("pipe", unix.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			unix.Close(fd)
		}
		return stoppedBy(err)
	},
	"a UDP socket":     socketOf(unix.AF_INET, unix.SOCK_DGRAM, 0),
	"an IPv6 socket":   socketOf(unix.AF_INET6, unix.SOCK_STREAM, 0),
	"a netlink socket": socketOf(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE),
	"a raw socket":     socketOf(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
	"a packet socket":  socketOf(unix.AF_PACKET, unix.SOCK_RAW, 0),

	"signal a host process": func() error {
		pid, _ := strconv.Atoi(env("PID"))
		return stoppedBy(unix.Kill(pid, 0))
	},
	"see a host process": func() error { _, err := os.Stat("/proc/" + env("PID")); return stoppedBy(err) },
	"be traced":          func() error { return raw(unix.SYS_PTRACE, unix.PTRACE_TRACEME) },
	"limit a host process": func() error {
		return onVictim(func(pid int) error {
			return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 10, Max: 10}, nil)
		})
	},
	"slow a host process down": func() error {
		return onVictim(func(pid int) error { return unix.Setpriority(unix.PRIO_PROCESS, pid, 19) })
	},
	"move a host process": func() error {
		var one unix.CPUSet
		one.Set(0)
		return onVictim(func(pid int) error { return unix.SchedSetaffinity(pid, &one) })
	},
	"read a host process's arguments": func() error { return readAny("/proc/" + env("PID") + "/cmdline") },
	"read the memory of a host process": func() error {
		pid, _ := strconv.Atoi(env("PID"))
		f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/mem")
		if err == nil {
			f.Close()
		}
		return stoppedBy(err)
	},

	"a user namespace":  startWith(unix.CLONE_NEWUSER),
	"a mount namespace": startWith(unix.CLONE_NEWUSER | unix.CLONE_NEWNS),
	"set-uid by chmod": func() error {
		if err := os.WriteFile(temp("bits"), nil, 0o755); err != nil {
			return err
		}
		return stoppedBy(unix.Chmod(temp("bits"), 0o4755))
	},
	"set-gid by fchmod": func() error {
		fd, err := unix.Open(temp("bits2"), unix.O_CREAT|unix.O_RDWR, 0o755)
		if err != nil {
			return err
		}
		return stoppedBy(unix.Fchmod(fd, 0o2755))
	},
	"set-uid by open": func() error {
		fd, err := unix.Open(temp("bits3"), unix.O_CREAT|unix.O_RDWR, 0o4755)
		if err == nil {
			unix.Close(fd)
		}
		return stoppedBy(err)
	},
	"set-uid by openat2": func() error {
		fd, err := unix.Openat2(unix.AT_FDCWD, temp("bits4"), &unix.OpenHow{Flags: unix.O_CREAT | unix.O_RDWR, Mode: 0o4755})
		if err == nil {
			unix.Close(fd)
		}
		return stoppedBy(err)
	},
	"a device node": func() error { return stoppedBy(unix.Mknod(temp("node"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))) },
	"a named pipe":  func() error { return stoppedBy(unix.Mkfifo(temp("pipe"), 0o666)) },

	"mount": func() error {
		if err := os.Mkdir(temp("mounted"), 0o755); err != nil {
			return err
		}
		if err := unix.Mount("x", temp("mounted"), "tmpfs", 0, ""); err != nil {
			return stoppedBy(err)
		}
		return unix.Unmount(temp("mounted"), 0)
	},
	"change the root":   func() error { return stoppedBy(unix.Chroot("/")) },
	"leave a namespace": func() error { return stoppedBy(unix.Unshare(unix.CLONE_NEWUTS)) },
	"the personality":   func() error { return raw(unix.SYS_PERSONALITY, 0xffffffff) },
	"name the host": func() error {
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		return stoppedBy(unix.Sethostname([]byte(name)))
	},

	// To what it is: without the fence this changes the machine's.
	"set the mode of a device": func() error { return stoppedBy(unix.Chmod("/dev/null", 0o666)) },
	"hand a core to the machine": func() error {
		return stoppedBy(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}))
	},

	"io_uring": func() error { var p [120]byte; return raw(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p))) },
	"bpf": func() error {
		var a [64]byte
		a[0], a[4], a[8], a[12] = 2, 4, 4, 1
		return raw(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&a)), 64)
	},
	"userfaultfd": func() error { return raw(unix.SYS_USERFAULTFD, 1) },
	"the keyring": func() error {
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_PROCESS_KEYRING, true)
		return stoppedBy(err)
	},
	"a memory file":    func() error { _, err := unix.MemfdCreate("x", 0); return stoppedBy(err) },
	"message queues":   func() error { return raw(unix.SYS_MSGGET, 0, unix.IPC_CREAT|0o600) },
	"clone3":           func() error { var a [88]byte; a[32] = byte(unix.SIGCHLD); return clone3(&a) },
	"the kernel's log": func() error { _, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil); return stoppedBy(err) },
	"kernel settings":  func() error { _, err := os.ReadFile("/proc/sys/kernel/ostype"); return stoppedBy(err) },

	"execute what was written": func() error {
		name, err := copyProgram("/usr/bin/true", 0o755)
		if err != nil {
			return err
		}
		return stoppedBy(exec.Command(name).Run())
	},
	"execute through the loader": func() error {
		name, err := copyProgram("/usr/bin/true", 0o644)
		if err != nil {
			return err
		}
		return stoppedBy(exec.Command(loader(), name).Run())
	},
	"map what was written": func() error {
		name, err := copyProgram("/usr/bin/true", 0o644)
		if err != nil {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		return stoppedBy(err)
	},
	"execute a granted file": func() error { return stoppedBy(exec.Command(seen("docs/run")).Run()) },

	"memory": func() error { return use(1<<30, unix.MAP_PRIVATE) },
	"shared memory": func() error {
		err := use(1<<30, unix.MAP_SHARED)
		time.Sleep(5 * time.Second) // for who looks at it from time to time
		return err
	},
	"memory of many": func() error {
		// Each is within the limit.
		for range 8 {
			cmd := exec.Command(thisProgram, attackCommand, "a part of the memory")
			if err := cmd.Start(); err != nil {
				return stoppedBy(err)
			}
		}
		time.Sleep(5 * time.Second)
		return nil
	},
	"a part of the memory": func() error {
		err := use(128<<20, unix.MAP_PRIVATE)
		time.Sleep(time.Minute)
		return err
	},
	"processes": func() error {
		n := 1
		for ; n < 2000; n++ {
			cmd := exec.Command("/usr/bin/sleep", "60")
			if err := cmd.Start(); err != nil {
				break
			}
		}
		fmt.Println(n)
		return nil
	},
}

// opened does something with a file that is open for reading.
func opened(name string, do func(fd int) error) error {
	fd, err := unix.Open(name, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd)
}

func onVictim(do func(pid int) error) error {
	pid, err := strconv.Atoi(env("PID"))
	if err != nil {
		return err
	}
	return stoppedBy(do(pid))
}

func clone3(a *[88]byte) error {
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(a)), 64, 0)
	switch {
	case errno != 0:
		return stoppedBy(errno)
	case pid == 0:
		for {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	_, err := unix.Wait4(int(pid), nil, 0, nil)
	return err
}

// loader is the interpreter that programs for this architecture name.
func loader() string {
	for _, name := range []string{"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"} {
		if exists(name) {
			return name
		}
	}
	return "/lib/ld-linux"
}

// use touches every page of n bytes.
func use(n, flags int) error {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_ANON)
	if err != nil {
		return stoppedBy(err)
	}
	for i := 0; i < n; i += 4096 {
		b[i] = 1
	}
	return nil
}
