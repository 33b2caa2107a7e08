package main

import pb "holdfast.example/polyglot/holdfastv1"

// The numbers of the kinds, as the option (holdfast.v1.kind) of each service says them.
const (
	kindDict    = 2
	kindValue   = 3
	kindLock    = 8
	kindBarrier = 12
	kindQueue   = 14
)

func integer(number int64) *pb.Datum {
	return &pb.Datum{Kind: &pb.Datum_Integer{Integer: number}}
}

func text(words string) *pb.Datum {
	return &pb.Datum{Kind: &pb.Datum_Text{Text: words}}
}

// record is a map with texts as keys: what a struct is in Rust, and a dict in Python.
func record(entries ...*pb.Entry) *pb.Datum {
	return &pb.Datum{Kind: &pb.Datum_Map{Map: &pb.Map{Entries: entries}}}
}

func entry(key string, value *pb.Datum) *pb.Entry {
	return &pb.Entry{Key: text(key), Value: value}
}

// field is what a record has under a key, or nil.
func field(record *pb.Datum, key string) *pb.Datum {
	for _, entry := range record.GetMap().GetEntries() {
		if entry.GetKey().GetText() == key {
			return entry.GetValue()
		}
	}
	return nil
}
