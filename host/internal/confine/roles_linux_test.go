package confine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// attackMain is status 0 if the attempt succeeded, 1 if it was stopped, 2 if
// there is none of that name.
func attackMain(args []string) int {
	switch args[0] {
	case "posture":
		return posture()
	case "lower posture":
		return lowerPosture()
	case "without":
		return withoutMain(args[1], args[2])
	case "probe":
		for _, m := range Probe(context.Background()) {
			fmt.Printf("%s: %s\n", m.Name, m.Detail)
			if m.Remedy != "" {
				fmt.Println("remedy:", m.Remedy)
			}
		}
		return 0
	case "canary":
		return lateCanaryMain()
	case "victim":
		runtime.LockOSThread()
		if err := dropCapabilities(os.Getuid() != 0); err != nil {
			return 3
		}
		_ = syscall.Exec("/usr/bin/sleep", []string{"secret", "600"}, []string{"X=secret"})
		return 3
	case "no namespaces":
		return noNamespacesMain(Tier(args[1]))
	case "host without groups":
		// In a mount namespace of its own, which still shares its mounts.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return 3
		}
		if err := unix.Mount("none", "/sys/fs/cgroup", "tmpfs", unix.MS_RDONLY, ""); err != nil {
			return 3
		}
		return hostMain(args[1])
	case "host":
		return hostMain(args[1])
	}
	attempt, ok := attempts[args[0]]
	if !ok {
		return 2
	}
	if err := attempt(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// lateCanaryMain waits for the end of its input, and tries the fence.
func lateCanaryMain() int {
	_, _ = io.Copy(io.Discard, os.Stdin)
	r, err := Canary(context.Background(), Full)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	o, err := findOwn()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer o.close()
	if o.folder != "" {
		r.Tier += ", from a copy"
	}
	fmt.Println(r.Tier)
	return 0
}

// hostMain runs a command as a host does.
func hostMain(spec string) int {
	var s Spec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return 2
	}
	r, err := Run(context.Background(), s, nil, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	fmt.Println("processes", r.Report.Processes, r.Report.Limits.Processes, "memory", r.Report.Memory)
	return 0
}
