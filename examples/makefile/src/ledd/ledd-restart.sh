#!/bin/sh
exec systemctl restart ledd
