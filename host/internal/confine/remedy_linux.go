package confine

import (
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	platformRemedy = "commands are confined on Linux, on amd64 and arm64; run agenthost there"
	landlockRemedy = "use Linux 6.2 or later with Landlock switched on: add landlock to lsm= on the kernel's command line (see /sys/kernel/security/lsm)"
	seccompRemedy  = "use a kernel with CONFIG_SECCOMP_FILTER; in a container, one whose own filter permits seccomp(2)"
	lowerRemedy    = "run agenthost as an ordinary user, or in a cgroup it may make groups beside (a systemd service with Delegate=yes and DelegateSubgroup=agenthost), or allow this user to make user namespaces"
	processRemedy  = "run agenthost as an ordinary user, or in a cgroup it may make groups beside (a systemd service with Delegate=yes and DelegateSubgroup=agenthost), or use Linux 6.14 or later"
)

// namespaceRemedy says what on this machine stands in the way of user namespaces.
// All that it names are settings that the kernel shows.
func namespaceRemedy() string {
	var todo []string
	setting := func(name, closed, remedy string) {
		if data, err := os.ReadFile("/proc/sys/" + name); err == nil && strings.TrimSpace(string(data)) == closed {
			todo = append(todo, remedy)
		}
	}
	setting("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1")
	setting("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000")
	setting("kernel/apparmor_restrict_unprivileged_userns", "1",
		"give agenthost an AppArmor profile with the rule `userns,`, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 for all programs")
	if underFilter() {
		todo = append(todo, "in Docker: docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined")
	}
	if todo == nil {
		return "allow this user to make user namespaces with mounts in them; none of the settings known to forbid it is set"
	}
	return strings.Join(todo, "; ")
}

// underFilter reports whether this thread is under a seccomp filter.
func underFilter() bool {
	own, err := openStatus()
	if err != nil {
		return false
	}
	defer own.Close()
	now, err := readStatus(own)
	return err == nil && now.seccomp != 0
}

// readNumber reads a setting of the kernel.
func readNumber(name string) (int, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// seconds rounds up: the kernel's limit is in whole ones.
func seconds(d time.Duration) uint64 { return uint64((d + time.Second - 1) / time.Second) }
