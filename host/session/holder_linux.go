package session

import (
	"fmt"
	"os"
	"strings"
)

// identity is what a process has and no other with its number: the boot, the
// PID namespace in which the number counts, and when the process began, in
// ticks since that boot (proc_pid_stat(5), field 22). It is false for a process
// that is not there.
func identity(pid int) (string, bool) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", false
	}
	namespace, err := os.Readlink("/proc/self/ns/pid") // in which the reader finds pid
	if err != nil {
		return "", false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	// The second field is the program's name in parentheses, which may hold
	// anything.
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", false
	}
	return strings.TrimSpace(string(boot)) + " " + namespace + " " + fields[19], true
}
