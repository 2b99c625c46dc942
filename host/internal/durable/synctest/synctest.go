// Package synctest tells tests what a process waits for the disk for. It is for
// tests alone, and for Linux.
package synctest
