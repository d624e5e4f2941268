package envoy

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What a client of the listener may take its time for. Envoy's own limits hold
// for the rest: 15 s for an answer, 5 min without a byte, an hour without a request.
const headersTimeout = 10 * time.Second

// The retry policy: failures that an endpoint cannot have acted upon, each time at
// an endpoint that was not tried before. A request that may be made twice is also
// retried when its endpoint dies with it.
const (
	retryOn           = "connect-failure,refused-stream,reset-before-request"
	retrySafeOn       = retryOn + ",reset"
	safeMethods       = "GET|HEAD|OPTIONS" // RFC 9110, section 9.2.1
	retries           = 3
	hostAttempts      = 5
	retryBaseInterval = 5 * time.Millisecond
	retryMaxInterval  = 50 * time.Millisecond
)

func (b *builder) listener() *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:    "http",
		Address: socket(b.Listener),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: b.any(b.connectionManager())},
		}}}},
	}
}

func (b *builder) connectionManager() *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix:     "http",
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: b.routes()},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(&routerv3.Router{})},
		}},
		// Without it a client could say in X-Forwarded-For who it is.
		UseRemoteAddress:      wrapperspb.Bool(true),
		RequestHeadersTimeout: durationpb.New(headersTimeout),
		AccessLog:             b.accessLog(),
	}
}

func (b *builder) routes() *routev3.RouteConfiguration {
	config := &routev3.RouteConfiguration{Name: "services"}
	for i, service := range b.Services {
		domains := []string{service, service + ":*"}
		if i == 0 {
			domains = []string{"*"}
		}
		config.VirtualHosts = append(config.VirtualHosts, &routev3.VirtualHost{
			Name:    clusterName(i, service),
			Domains: domains,
			Routes:  b.routesTo(clusterName(i, service)),
		})
	}
	return config
}

// routesTo are the routes of one virtual host: the safe methods, unless nothing is
// retried anyway, and all others.
func (b *builder) routesTo(cluster string) []*routev3.Route {
	all := b.route(cluster, retryOn)
	if b.NoRetries {
		return []*routev3.Route{all}
	}
	safe := b.route(cluster, retrySafeOn)
	safe.Match.Headers = []*routev3.HeaderMatcher{{
		Name: ":method",
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: safeMethods}},
		}},
	}}
	return []*routev3.Route{safe, all}
}

func (b *builder) route(cluster, retryOn string) *routev3.Route {
	return &routev3.Route{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
			RetryPolicy:      b.retryPolicy(retryOn),
		}},
	}
}

func (b *builder) retryPolicy(on string) *routev3.RetryPolicy {
	if b.NoRetries {
		return nil
	}
	return &routev3.RetryPolicy{
		RetryOn:    on,
		NumRetries: wrapperspb.UInt32(retries),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: b.any(&previoushostsv3.PreviousHostsPredicate{}),
			},
		}},
		HostSelectionRetryMaxAttempts: hostAttempts,
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(retryBaseInterval),
			MaxInterval:  durationpb.New(retryMaxInterval),
		},
	}
}

func (b *builder) accessLog() []*accesslogv3.AccessLog {
	if !b.AccessLog {
		return nil
	}
	return []*accesslogv3.AccessLog{{
		Name:       "envoy.access_loggers.stdout",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: b.any(&streamv3.StdoutAccessLog{})},
	}}
}
