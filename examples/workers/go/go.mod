module example.com/actorcluster

go 1.22
