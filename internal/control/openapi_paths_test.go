package control_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"vswitchd/internal/control"
	"vswitchd/internal/tomldoc"
)

// The operations of the API. The types of bodies and answers describe the rest.

// An operation is what a method of a path does.
type operation struct {
	route    string // method and path
	does     string
	params   []param
	takes    any      // a value of the type of the body; nil: there is none
	needs    []string // fields that the body must have
	answers  any      // a value of the type of the answer
	as       string   // the type of an answer that is not JSON
	headers  map[string]string
	statuses []int // of errors, besides 400 and 500
}

// A param is a parameter of a query, or the header that begins with a capital letter.
type param struct {
	name, does string
	schema     obj
	required   bool
}

var (
	vlanSchema   = obj{"type": "integer", "minimum": 0, "maximum": 4095}
	stringSchema = obj{"type": "string"}
	boolSchema   = obj{"type": "boolean"}
	sinceSchema  = obj{"type": "string", "enum": []string{"start", "reset"}, "default": "start"}

	onlyVLAN = []param{{name: "vlan", does: "only entries of this VLAN", schema: vlanSchema}}
	since    = []param{{name: "since", does: "since when is counted", schema: sinceSchema}}
	etag     = map[string]string{"ETag": "the revision, in quotes"}
)

// memberParams are the parameters that name a static member of a group.
var memberParams = []param{
	{"group", "IP address of the group", stringSchema, true},
	{"port", "name of the port", stringSchema, true},
	{"vlan", "that of the port's untagged frames if left out", vlanSchema, false},
	{"source", "IP address of the one source; all sources if left out", stringSchema, false},
}

var operations = []operation{
	{route: "GET /v1/switch", does: "The whole switch at a glance", answers: control.SwitchInfo{}},
	{route: "GET /v1/ports", does: "All ports, in the order of the configuration, uplinks first",
		params:  []param{{name: "kind", does: "only ports of this kind", schema: obj{"type": "string", "enum": control.Kinds}}},
		answers: []control.PortInfo{}},
	{route: "GET /v1/ports/{name}", does: "One port with its rings and regions", answers: control.PortDetail{}, statuses: []int{404}},
	{route: "GET /v1/fdb", does: "FDB entries, sorted by VLAN and MAC address",
		params:  []param{{name: "port", does: "only entries of this port", schema: stringSchema}, onlyVLAN[0]},
		answers: []control.FDBEntry{}, statuses: []int{404}},
	{route: "POST /v1/fdb", does: "Add an FDB entry",
		params: []param{
			{"mac", "the address", stringSchema, true},
			{"port", "behind which it is; a blackhole has none", stringSchema, false},
			{"vlan", "that of the port's untagged frames if left out, or all for a blackhole", vlanSchema, false},
			{"type", "", obj{"type": "string", "enum": control.FDBTypes, "default": "static"}, false},
		},
		answers: control.FDBEntry{}, statuses: []int{404, 409}},
	{route: "DELETE /v1/fdb", does: "Remove the entries that the parameters select, and never those of ports' mac",
		params: []param{
			{name: "port", does: "only entries of this port", schema: stringSchema}, onlyVLAN[0],
			{name: "type", does: "types, separated by commas", schema: obj{"type": "string", "default": "dynamic"}},
		},
		answers: control.FDBRemoved{}, statuses: []int{404, 409}},
	{route: "DELETE /v1/fdb/{mac}", does: "Remove the entry of an address",
		params:  []param{{name: "vlan", does: "may be left out if the address has only one entry", schema: vlanSchema}},
		answers: control.FDBRemoved{}, statuses: []int{404, 409}},
	{route: "GET /v1/mdb", does: "The multicast database, sorted by VLAN and group", params: onlyVLAN, answers: control.MDB{}},
	{route: "POST /v1/mdb", does: "Make a port a static member of a group", params: memberParams, answers: control.MDBEntry{}, statuses: []int{404, 409}},
	{route: "DELETE /v1/mdb", does: "Remove a static member, with the parameters with which it was made", params: memberParams, answers: control.MDBEntry{}, statuses: []int{404, 409}},
	{route: "GET /v1/neigh", does: "The neighbor table, sorted by VLAN and IP address", params: onlyVLAN, answers: []control.Neighbor{}},
	{route: "GET /v1/mirrors", does: "All mirrors, in the order of the configuration", answers: []control.Mirror{}},
	{route: "GET /v1/captures", does: "The captures that run, the oldest first", answers: []control.Capture{}},
	{route: "POST /v1/captures", does: "Begin a capture; the answer ends with the capture", takes: control.CaptureRequest{},
		as: control.ContentTypePcapng, headers: map[string]string{control.HeaderCapture: "the capture's id"}, statuses: []int{404, 409}},
	{route: "DELETE /v1/captures/{id}", does: "Make a capture end in order", answers: control.Capture{}, statuses: []int{404}},
	{route: "GET /v1/events", does: "What happens, as it happens: server-sent events, with an Event in the data of each. Last-Event-ID is ignored",
		params: []param{
			{name: "kind", does: "only events of these kinds, separated by commas: " + joinKinds(), schema: stringSchema},
			{name: "port", does: "only events about this port", schema: stringSchema},
			{name: "snapshot", does: "begin with events \"present\" for what there is", schema: boolSchema},
		},
		as: control.ContentTypeEvents, statuses: []int{404, 503}},
	{route: "POST /v1/trace", does: "What would happen to a frame, without any effect", takes: control.TraceRequest{}, needs: []string{"port", "frame"},
		answers: control.Trace{}, statuses: []int{404}},
	{route: "POST /v1/trace/next", does: "Wait for a frame from a port, and say what has happened to it", takes: control.NextRequest{}, needs: []string{"port"},
		answers: control.Trace{}, statuses: []int{404, 409}},
	{route: "GET /v1/filters", does: "All filters, in the order of the configuration", answers: []control.Filter{}},
	{route: "GET /v1/filters/{name}", does: "One filter", answers: control.Filter{}, statuses: []int{404}},
	{route: "GET /v1/sets", does: "All sets of addresses and ports, in the order of the configuration", answers: []control.Set{}},
	{route: "GET /v1/sets/{name}", does: "One set", answers: control.Set{}, statuses: []int{404}},
	{route: "PUT /v1/sets/{name}", does: "Replace the entries of a set", takes: control.SetEntries{}, answers: control.Set{}, statuses: []int{404, 409}},
	{route: "PATCH /v1/sets/{name}", does: "Remove entries from a set, and add others", takes: control.SetChange{}, answers: control.Set{}, statuses: []int{404, 409}},
	{route: "GET /v1/stats", does: "The statistics of all ports", params: since, answers: []control.PortStats{}},
	{route: "DELETE /v1/stats", does: "Reset what is counted for since=reset, at all ports", answers: control.StatsReset{}},
	{route: "GET /v1/stats/{name}", does: "The statistics of one port", params: since, answers: control.PortStats{}, statuses: []int{404}},
	{route: "DELETE /v1/stats/{name}", does: "Reset what is counted for since=reset, at one port", answers: control.StatsReset{}, statuses: []int{404}},
	{route: "GET /v1/config", does: "The configuration that runs, and the file", answers: control.ConfigInfo{}, headers: etag},
	{route: "PATCH /v1/config", does: "Edit the configuration that runs, by a JSON Patch",
		params: []param{
			{name: "dry_run", does: "change nothing", schema: boolSchema},
			{name: "If-Match", does: "a revision in quotes: refuse to edit anything else", schema: stringSchema},
		},
		takes: tomldoc.Patch{}, answers: control.ConfigChange{}, headers: etag, statuses: []int{409, 412}},
	{route: "POST /v1/config/check", does: "Check the text of a configuration file", takes: control.ConfigText{}, needs: []string{"text"},
		answers: control.ConfigChange{}, headers: etag, statuses: []int{409}},
	{route: "GET /v1/state", does: "The state that another vswitchd would take over, as a document of a hand-over", answers: json.RawMessage{}},
	{route: "POST /v1/reload", does: "Read the configuration again", answers: control.ConfigChange{}, headers: etag, statuses: []int{409}},
}

func joinKinds() string {
	var names []string
	for _, k := range control.EventKinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// statusTexts say what a status means.
var statusTexts = map[int]string{
	400: "A parameter or the body is malformed or unknown",
	404: "There is no such port, entry, member, filter, set or capture",
	409: "The change is refused, and nothing has changed",
	412: "The configuration is not that of If-Match, and nothing has changed",
	500: "A fault of vswitchd",
	503: "There are too many listeners, or vswitchd is stopping",
}

var inBraces = regexp.MustCompile(`\{(\w+)\}`)

// describe returns the operation as OpenAPI has it.
func (o *operation) describe(g *schemas) obj {
	op := obj{"summary": o.does, "operationId": o.id()}
	var params []obj
	for _, m := range inBraces.FindAllStringSubmatch(o.route, -1) {
		params = append(params, obj{"name": m[1], "in": "path", "required": true, "schema": stringSchema})
	}
	for _, p := range o.params {
		d := obj{"name": p.name, "in": "query", "schema": p.schema}
		if p.does != "" {
			d["description"] = p.does
		}
		if p.name[0] < 'a' {
			d["in"] = "header"
		}
		if p.required {
			d["required"] = true
		}
		params = append(params, d)
	}
	if params != nil {
		op["parameters"] = params
	}
	if o.takes != nil {
		op["requestBody"] = obj{"required": true, "content": obj{"application/json": obj{"schema": g.request(o)}}}
	}
	responses := obj{"200": o.success(g)}
	for _, status := range append([]int{http.StatusBadRequest, http.StatusInternalServerError}, o.statuses...) {
		responses[strconv.Itoa(status)] = obj{
			"description": statusTexts[status],
			"content":     obj{"application/json": obj{"schema": g.of(reflect.TypeFor[control.ErrorBody]())}},
		}
	}
	op["responses"] = responses
	return op
}

// success describes the answer without errors.
func (o *operation) success(g *schemas) obj {
	kind, schema := o.as, stringSchema
	if kind == "" {
		kind, schema = "application/json", g.of(reflect.TypeOf(o.answers))
	}
	r := obj{"description": "Success", "content": obj{kind: obj{"schema": schema}}}
	if o.headers != nil {
		headers := obj{}
		for name, does := range o.headers {
			headers[name] = obj{"description": does, "schema": stringSchema}
		}
		r["headers"] = headers
	}
	return r
}

// id names the operation for generated clients: GET /v1/ports/{name} is getPortsName.
func (o *operation) id() string {
	method, path, _ := strings.Cut(o.route, " ")
	id := strings.ToLower(method)
	for word := range strings.FieldsFuncSeq(strings.TrimPrefix(path, "/v1"), func(r rune) bool { return strings.ContainsRune("/{}", r) }) {
		id += strings.ToUpper(word[:1]) + word[1:]
	}
	return id
}

// request returns the schema of an operation's body. No field is required in a request but those
// that the operation needs, and no others are known.
func (g *schemas) request(o *operation) obj {
	t := reflect.TypeOf(o.takes)
	if t.Kind() == reflect.Slice {
		return g.of(t)
	}
	name := t.Name()
	if !strings.HasSuffix(name, "Request") {
		name += "Request"
	}
	s := g.object(t)
	s["additionalProperties"] = false
	delete(s, "required")
	if o.needs != nil {
		s["required"] = o.needs
	}
	if t == reflect.TypeFor[control.SetChange]() {
		entries := obj{"$ref": fmt.Sprintf("#/components/schemas/%sRequest", reflect.TypeFor[control.SetEntries]().Name())}
		s["properties"] = obj{"add": entries, "del": entries}
	}
	g.components[name] = s
	return obj{"$ref": "#/components/schemas/" + name}
}
