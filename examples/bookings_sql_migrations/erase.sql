drop table bookings;
drop table rooms;
