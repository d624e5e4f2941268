package api

import "net/http"

// The bodies of discovery requests are bounded here, what is in them is xds's business.

func (a *api) discoverV3(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	a.Discovery.ServeRESTv3(w, r)
	return nil
}

func (a *api) discoverV2(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	a.Discovery.ServeRESTv2(w, r)
	return nil
}

func (a *api) discoverV1(w http.ResponseWriter, r *http.Request) error {
	name, err := serviceName(r)
	if err != nil {
		return err
	}
	a.Discovery.ServeRegistration(w, r, name)
	return nil
}
