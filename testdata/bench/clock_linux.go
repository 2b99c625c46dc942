package main

import "golang.org/x/sys/unix"

// cpuTime is what this thread and all of this process have used, in nanoseconds.
func cpuTime() (thread, process float64) {
	read := func(id int32) float64 {
		var t unix.Timespec
		if err := unix.ClockGettime(id, &t); err != nil {
			return 0 // every Linux has these clocks
		}
		return float64(t.Nano())
	}
	return read(unix.CLOCK_THREAD_CPUTIME_ID), read(unix.CLOCK_PROCESS_CPUTIME_ID)
}

// usage is the processor time of this process and of all that it and they waited
// for, in nanoseconds.
func usage() (sum float64) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			return 0 // every Linux has it
		}
		sum += float64(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

// adopt has this process get those that outlive the ones it started.
func adopt() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } // else less is counted

// reap waits for them. Nothing else may be running that this process started.
func reap() {
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && err != unix.EINTR {
			return // there are no more
		}
	}
}
