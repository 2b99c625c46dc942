package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unsafe"
)

//go:wasmimport agenthost_v1 call
func abiCall(req unsafe.Pointer, size uint32, out unsafe.Pointer, room uint32) int32

//go:wasmimport agenthost_v1 more
func abiMore(offset uint32, out unsafe.Pointer, room uint32) int32

// call sends a message and prints the reply. Words "\n" stand for the end of the
// line, and what follows them is the body.
func call(w []string) {
	req := []byte(message(w))
	reply := make([]byte, 16)
	n := abiCall(unsafe.Pointer(unsafe.SliceData(req)), uint32(len(req)), unsafe.Pointer(unsafe.SliceData(reply)), 16)
	if n < 0 {
		fmt.Println("call:", n)
		return
	}
	if n > 16 {
		rest := make([]byte, n-16)
		abiMore(16, unsafe.Pointer(unsafe.SliceData(rest)), uint32(len(rest)))
		reply = append(reply, rest...)
	}
	fmt.Print(string(reply[:n]))
	if !bytes.HasSuffix(reply[:n], []byte("\n")) {
		fmt.Println()
	}
}

func message(w []string) string {
	return strings.ReplaceAll(strings.Join(w, " "), `\n`, "\n")
}

// device sends a message through the device file. Where a body follows, its line
// says so itself.
func device(w []string) {
	f, err := os.OpenFile("/.agenthost/call", os.O_RDWR, 0)
	if err != nil {
		fmt.Println("device:", err)
		return
	}
	defer f.Close()
	text := message(w)
	if !strings.Contains(text, "\n") {
		text += "\n"
	}
	if _, err := f.WriteString(text); err != nil {
		fmt.Println("device:", err)
		return
	}
	reply := make([]byte, 1<<20)
	n, err := f.Read(reply)
	if err != nil {
		fmt.Println("device:", err)
		return
	}
	fmt.Print(string(reply[:n]))
	if !bytes.HasSuffix(reply[:n], []byte("\n")) {
		fmt.Println()
	}
}
