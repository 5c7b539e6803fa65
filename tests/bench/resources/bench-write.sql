-- name:   bench-write
-- doc:    One row, new or in the place of another, and a purge of what was made of it.
-- route:  PUT /api/bench/rows/{id}
-- param:  id integer 0..100000000
-- param:  value integer
-- param:  note text 0..200
-- shape:  object
-- purge:  tag:bench:row:{id}
INSERT INTO bench_rows (id, value, note) VALUES (:id, :value, :note)
ON CONFLICT (id) DO UPDATE SET value = excluded.value, note = excluded.note RETURNING id, value, note;
