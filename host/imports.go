package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/internal/gate"
	"github.com/agenthost/agenthost/host/internal/govfs"
	"github.com/agenthost/agenthost/host/internal/hostcall"
	"github.com/agenthost/agenthost/host/internal/meter"
)

// callFuel is what a call of a host function costs, in units of the meter: about
// as many instructions as the host spends on the cheapest of them.
const callFuel = 500

// running is what the host functions need of the turn that calls them. It
// travels in the context: the Runtime and its host modules are shared.
type running struct {
	ctx     context.Context // done when the turn must end
	account *meter.Account
	gate    *gate.Gate
	calls   *hostcall.Dispatcher
}

type runningKey struct{}

func (r *running) within(ctx context.Context) context.Context {
	return context.WithValue(ctx, runningKey{}, r)
}

// enter is the first step of every call into the host. A guest that does little
// else reaches its counter's check seldom, so the turn's clock is looked at here,
// too.
func (r *running) enter() {
	r.charge(callFuel)
	if r.ctx.Err() != nil {
		panic(context.Cause(r.ctx))
	}
}

// charge takes fuel for what the host does for the guest, which ends when there
// is none left.
func (r *running) charge(units int64) {
	if err := r.account.Charge(units); err != nil {
		panic(err)
	}
}

func runningIn(ctx context.Context) *running {
	r, ok := ctx.Value(runningKey{}).(*running)
	if !ok {
		panic(&gate.HostError{Doing: "call a host function", Err: errors.New("no turn is running")})
	}
	return r
}

// instantiateMeter gives guests the import that their counters call.
func instantiateMeter(ctx context.Context, runtime wazero.Runtime) error {
	refill := api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
		next, err := runningIn(ctx).account.Refill(int64(stack[0]))
		if err != nil {
			panic(err)
		}
		stack[0] = uint64(next)
	})
	i64 := []api.ValueType{api.ValueTypeI64}
	_, err := runtime.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(refill, i64, i64).Export(meter.ImportName).Instantiate(ctx)
	if err != nil {
		return fmt.Errorf("offer the meter: %w", err)
	}
	return nil
}

// instantiateWASI gives a guest what it imports of WASI preview 1: each function
// is wazero's own, behind one wrapper. Names in missing answer ENOSYS.
func (r *Runner) instantiateWASI(ctx context.Context, name string, imports []archive.Import, missing map[string]signature) (api.Module, error) {
	functions := map[string]bool{}
	for _, i := range imports {
		if i.Module == abi.WASIModule {
			functions[i.Name] = true
		}
	}
	builder := r.runtime.NewHostModuleBuilder(name)
	for _, function := range slices.Sorted(maps.Keys(functions)) {
		if s, ok := missing[function]; ok {
			builder.NewFunctionBuilder().
				WithGoModuleFunction(enosys(function, len(s.results) > 0), s.params, s.results).Export(function)
			continue
		}
		def := r.wasi[function]
		if def == nil {
			return nil, fmt.Errorf("build WASI: there is no %s", function)
		}
		inner, ok := def.GoFunction().(api.GoModuleFunction)
		if !ok {
			return nil, fmt.Errorf("build WASI: %s is not a function of Go", function)
		}
		builder.NewFunctionBuilder().
			WithGoModuleFunction(mediate(function, inner), def.ParamTypes(), def.ResultTypes()).Export(function)
	}
	// What the builder itself instantiates cannot be resolved to by one guest
	// alone: it is wrapped in a type that imports do not accept.
	compiled, err := builder.Compile(ctx)
	if err != nil {
		return nil, fmt.Errorf("offer WASI: %w", err)
	}
	module, err := r.runtime.InstantiateModule(ctx, compiled, wazero.NewModuleConfig())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("offer WASI: %w", err), compiled.Close(ctx))
	}
	return module, nil
}

// instantiateABI gives guests the functions of the contract, behind the wrapper
// that WASI's have.
func instantiateABI(ctx context.Context, runtime wazero.Runtime) error {
	builder := runtime.NewHostModuleBuilder(abi.Module)
	for function, call := range map[string]func(*hostcall.Dispatcher, api.Module, []uint64){
		abi.FuncCall: (*hostcall.Dispatcher).Call,
		abi.FuncMore: (*hostcall.Dispatcher).More,
	} {
		s, _ := abi.Lookup(abi.Module, function)
		inner := api.GoModuleFunc(func(ctx context.Context, module api.Module, stack []uint64) {
			call(runningIn(ctx).calls, module, stack)
		})
		builder.NewFunctionBuilder().
			WithGoModuleFunction(mediate(function, inner), []api.ValueType(s.Params), []api.ValueType(s.Results)).Export(function)
	}
	if _, err := builder.Instantiate(ctx); err != nil {
		return fmt.Errorf("offer the guest contract: %w", err)
	}
	return nil
}

// mediate wraps one import: every call of a guest into the host passes here. It
// charges the call, answers for arguments that would make the host work without
// bound, and then lets the function run, which is wazero's or the contract's.
func mediate(function string, inner api.GoModuleFunction) api.GoModuleFunc {
	guard := govfs.GuardOf(function)
	return func(ctx context.Context, module api.Module, stack []uint64) {
		r := runningIn(ctx)
		r.enter()
		if errno, refused := guard.Refuse(r.gate, module, stack, r.charge); refused {
			stack[0] = uint64(errno)
			return
		}
		inner.Call(ctx, module, stack)
	}
}

// errnoNoSys is WASI's errno of a function that is not there.
const errnoNoSys = 52

func enosys(function string, answers bool) api.GoModuleFunc {
	return func(ctx context.Context, _ api.Module, stack []uint64) {
		r := runningIn(ctx)
		r.enter()
		r.gate.Missing(gate.WASI, abi.WASIModule+"."+function)
		if answers {
			stack[0] = errnoNoSys
		}
	}
}

// A signature is the type of a function that the host does not have.
type signature struct {
	params, results []api.ValueType
}

func (s signature) equal(other signature) bool {
	return slices.Equal(s.params, other.params) && slices.Equal(s.results, other.results)
}

// parseSignature reads a type as the meter spells it, such as "(i32, i64) ->
// i32". It reports false for one that no host function can have.
func parseSignature(text string) (signature, bool) {
	params, results, _ := strings.Cut(text, "->")
	p, ok := valueTypes(params)
	r, alsoOK := valueTypes(results)
	return signature{p, r}, ok && alsoOK
}

func valueTypes(text string) (types []api.ValueType, ok bool) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("(), ", r) }) {
		switch word {
		case "i32":
			types = append(types, api.ValueTypeI32)
		case "i64":
			types = append(types, api.ValueTypeI64)
		case "f32":
			types = append(types, api.ValueTypeF32)
		case "f64":
			types = append(types, api.ValueTypeF64)
		default:
			return nil, false
		}
	}
	return types, true
}
