package fleet_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestMembersAreEqualUntilAnyFieldDiffers(t *testing.T) {
	m := fleet.Member{Endpoint: fleet.Endpoint{Tags: map[string]string{"a": "b"}}}
	same := fleet.Member{Endpoint: fleet.Endpoint{Tags: map[string]string{"a": "b"}}}
	if !m.Equal(&same) {
		t.Fatal("equal members are not equal")
	}
	leaves(reflect.ValueOf(&same).Elem(), "Member", func(path string, v reflect.Value) {
		before := reflect.New(v.Type()).Elem()
		before.Set(v)
		v.Set(another(t, path, v))
		if m.Equal(&same) {
			t.Errorf("%s does not matter", path)
		}
		v.Set(before)
	})
}

// leaves visits the fields that hold values, however deep.
func leaves(v reflect.Value, path string, visit func(string, reflect.Value)) {
	if v.Kind() != reflect.Struct || v.Type().PkgPath() != reflect.TypeFor[fleet.Member]().PkgPath() {
		visit(path, v)
		return
	}
	for i := range v.NumField() {
		leaves(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
	}
}

// another is a value that v does not have.
func another(t *testing.T, path string, v reflect.Value) reflect.Value {
	switch v.Interface().(type) {
	case netip.AddrPort:
		return reflect.ValueOf(netip.MustParseAddrPort("10.0.0.1:80"))
	case time.Time:
		return reflect.ValueOf(time.Unix(1, 0))
	case uuid.UUID:
		return reflect.ValueOf(uuid.Max)
	case time.Duration:
		return reflect.ValueOf(time.Second)
	case map[string]string:
		return reflect.ValueOf(map[string]string{"a": "c"})
	}
	switch v.Kind() {
	case reflect.String:
		return reflect.ValueOf("x").Convert(v.Type())
	case reflect.Bool:
		return reflect.ValueOf(true)
	case reflect.Uint32, reflect.Uint64:
		return reflect.ValueOf(7).Convert(v.Type())
	default:
		t.Fatalf("%s is a %s: say what else it could be", path, v.Type())
		return v
	}
}
