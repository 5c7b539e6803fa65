-- name:   bench-write-alone
-- doc:    One row, new or in the place of another; nothing was made of it.
-- route:  PUT /api/bench/rows-alone/{id}
-- param:  id integer 0..100000000
-- param:  value integer
-- param:  note text 0..200
-- shape:  object
INSERT INTO bench_rows (id, value, note) VALUES (:id, :value, :note)
ON CONFLICT (id) DO UPDATE SET value = excluded.value, note = excluded.note RETURNING id, value, note;
