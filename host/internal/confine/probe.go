package confine

// A Mechanism is one thing that the fence is made of, and whether this machine has
// it: found by trying, not by asking.
type Mechanism struct {
	// Name is "user namespaces", "mnt namespaces" and so on for each kind, "mounts",
	// "landlock", "seccomp", "openat2", "fence", "lower fence", "process limit" or
	// "memory limit".
	Name string `json:"name"`
	// Works is whether it did what the fence needs of it. "fence" is all of them
	// together, around a program that tries to get out, and "lower fence" those of the
	// tier [Landlock].
	Works bool `json:"works"`
	// Detail is what was found: a version, what bounds, or what the kernel said.
	Detail string `json:"detail,omitempty"`
	// Remedy is what to do where it does not work.
	Remedy string `json:"remedy,omitempty"`
}
