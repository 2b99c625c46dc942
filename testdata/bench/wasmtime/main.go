//go:build cgo

// Command wasmtime is the peer that stands for wasmtime: it compiles a module to
// a file, or runs a WASI command from such a file. It measures nothing itself.
//
//	wasmtime compile MODULE FILE
//	wasmtime run FILE ARGUMENT...
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/bytecodealliance/wasmtime-go/v39"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "wasmtime:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "compile":
		return compile(args[1], args[2])
	case len(args) > 1 && args[0] == "run":
		return command(args[1:])
	}
	return errors.New("want compile MODULE FILE, or run FILE ARGUMENT...")
}

func compile(from, to string) error {
	module, err := wasmtime.NewModuleFromFile(wasmtime.NewEngine(), from)
	if err != nil {
		return err
	}
	code, err := module.Serialize()
	if err != nil {
		return err
	}
	return os.WriteFile(to, code, 0o644)
}

// command runs a WASI command to its end. Args begin with the compiled file.
func command(args []string) error {
	engine := wasmtime.NewEngine()
	module, err := wasmtime.NewModuleDeserializeFile(engine, args[0])
	if err != nil {
		return err
	}
	linker := wasmtime.NewLinker(engine)
	if err := linker.DefineWasi(); err != nil {
		return err
	}
	wasi := wasmtime.NewWasiConfig()
	wasi.SetArgv(args)
	wasi.InheritStdin()
	wasi.InheritStdout()
	wasi.InheritStderr()
	store := wasmtime.NewStore(engine)
	store.SetWasi(wasi)
	instance, err := linker.Instantiate(store, module)
	if err != nil {
		return err
	}
	start := instance.GetFunc(store, "_start")
	if start == nil {
		return errors.New("the module is not a WASI command")
	}
	_, err = start.Call(store)
	var exit *wasmtime.Error
	if errors.As(err, &exit) {
		if status, ok := exit.ExitStatus(); ok && status == 0 {
			return nil
		}
	}
	return err
}
