mod following;
mod shipping;
mod workspace;
