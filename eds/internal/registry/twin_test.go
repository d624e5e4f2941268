package registry

import "reflect"

// twin is a Registry that receives everything that another one receives, and that
// rebuilds everything each time: it shows whether the other one missed a change.
type twin struct{ *Registry }

func (w twin) agree(s *script) {
	s.t.Helper()
	in := s.in
	in.EvidenceRevision = 0
	w.index = newIndex()
	snap, due := w.Decide(in)
	if !due.Equal(s.due) {
		s.t.Errorf("due at %v, made anew %v", s.due, due)
	}
	if !reflect.DeepEqual(snap, s.snap) {
		s.t.Errorf("decided %+v\nmade anew %+v", s.snap.Services, snap.Services)
	}
}
