package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const bubblewrapName = "bubblewrap"

// An execPeer is another way to run a command.
type execPeer struct {
	name, version string
	argv          []string
	each          int    // how many runs make a sample, at most
	absent        string // why it cannot be run, if it cannot
}

// sampler is one of what a run costs, over so many: on the wall until it returns,
// and of processors with all that it leaves running.
func (p execPeer) sampler(n int) sampler {
	return func() (cost, error) {
		used := usage()
		c, err := everything(n, func() error {
			if out, err := exec.Command(p.argv[0], p.argv[1:]...).CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %.300s", p.name, err, out)
			}
			return nil
		})()
		reap()
		c.CPU = (usage() - used) / float64(n)
		return c, err
	}
}

// plainExec is no fence at all.
func plainExec() execPeer {
	return execPeer{name: "fork and exec", argv: []string{nothing}, each: 100}
}

// A bubblewrap is the program bwrap.
type bubblewrap struct{ path, version, absent string }

// bubblewrap is the one that is installed, or the one of this machine's
// distribution, which is unpacked in the lab and not installed.
func (l *lab) bubblewrap() bubblewrap {
	b := bubblewrap{path: "bwrap"}
	if _, err := exec.LookPath(b.path); err != nil {
		l.say("fetching bubblewrap")
		if b.path, err = l.unpackBubblewrap(); err != nil {
			b.absent = fmt.Sprintf("%s (%v)", notInstalled, lastLine(err.Error()))
			return b
		}
	}
	b.version = strings.TrimPrefix(installed(b.path), bubblewrapName+" ")
	if _, err := output("", nil, b.path, "--unshare-all", "--ro-bind", "/", "/", nothing); err != nil {
		b.absent = fmt.Sprintf("does not run here (%s)", lastLine(err.Error()))
	}
	adopt() // its first process ends before the one that had the work
	return b
}

func (l *lab) unpackBubblewrap() (string, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", errors.New("there is no apt-get to fetch it with")
	}
	dir := l.path("bubblewrap")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if _, err := output(dir, nil, "apt-get", "--quiet", "download", "bubblewrap"); err != nil {
		return "", err
	}
	archives, err := filepath.Glob(filepath.Join(dir, "bubblewrap_*.deb"))
	if err != nil || len(archives) != 1 {
		return "", errors.Join(errors.New("apt-get downloaded nothing"), err)
	}
	_, err = output(dir, nil, "dpkg-deb", "-x", archives[0], dir)
	return filepath.Join(dir, "usr/bin/bwrap"), err
}

// What a command of agenthost sees of every machine, if it is there.
var (
	systemFolders = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"}
	systemFiles   = []string{
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/nsswitch.conf",
		"/etc/alternatives", "/etc/passwd", "/etc/group",
	}
)

// sees is bubblewrap with the same view that a command of agenthost has.
func (b bubblewrap) sees(g granting) execPeer {
	argv := []string{b.path, "--unshare-all", "--die-with-parent"}
	for _, p := range systemFolders {
		if target, err := os.Readlink(p); err == nil {
			argv = append(argv, "--symlink", target, p)
		} else if _, err := os.Stat(p); err == nil {
			argv = append(argv, "--ro-bind", p, p)
		}
	}
	for _, p := range systemFiles {
		if _, err := os.Stat(p); err == nil {
			argv = append(argv, "--ro-bind", p, p)
		}
	}
	argv = append(argv, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/out")
	if g.files == nil {
		argv = append(argv, "--ro-bind", filepath.Join(g.dir, "files"), "/w/files")
	}
	for _, name := range g.files {
		argv = append(argv, "--ro-bind", filepath.Join(g.dir, name), filepath.Join("/w", name))
	}
	peer := execPeer{
		name: bubblewrapName, version: b.version, absent: b.absent,
		argv: append(argv, "--chdir", "/w", nothing), each: 100,
	}
	if len(g.files) >= 1000 {
		peer.each = 1 // it takes most of a second
	}
	return peer
}
